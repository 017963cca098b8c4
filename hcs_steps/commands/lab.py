"""``hcs init`` and ``hcs profiles``: lay out what ships with the package."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from hcs_steps.errors import ConfigError, StorageError

PARTS = ("Snakefile", "rules", "profiles", "config")
"""What a lab repository starts with."""

GITIGNORE = ".snakemake/\nresults/\n__pycache__/\n"

FUNCTIONS_README = """\
Step functions of your own. Name them in a pipeline as functions.<module>:<function>.
"""


def template_folder() -> Path:
    """The folder that holds the Snakefile, rules, profiles and config that came with the package."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "template", package.parent):
        if (folder / "Snakefile").is_file() and (folder / "profiles").is_dir():
            return folder
    raise StorageError(
        "The Snakefile and profiles that belong to hcs-steps are not installed beside it.",
        hint="Install the package again: pip install --force-reinstall hcs-steps.",
    )


def init(arguments: argparse.Namespace) -> int:
    """Lay out a new lab repository; existing files are left alone and named."""
    target = Path(arguments.folder)
    copy_template(target)
    if arguments.plate:
        use_plate(target, Path(arguments.plate))
    print(
        f"{target} is ready. Set your plates in {target / 'config/config.yaml'}, then run: "
        f"cd {target} && snakemake -n (what would run), and snakemake."
    )
    return 0


def lay_out(target: Path, plate: Path) -> None:
    """Make ``target`` a lab repository for one plate if it is none yet."""
    if not (target / "Snakefile").exists():
        copy_template(target)
        use_plate(target, plate)


def copy_template(target: Path) -> None:
    """Copy the template into ``target``. Raises `ConfigError` rather than overwrite anything."""
    taken = [name for name in (*PARTS, "functions") if (target / name).exists()]
    if taken:
        raise ConfigError(
            f"{target} already holds {', '.join(taken)}.", hint="Choose a new folder; nothing was changed."
        )
    try:
        (target / "functions").mkdir(parents=True)
        for name in PARTS:
            source = template_folder() / name
            if source.is_dir():
                shutil.copytree(
                    source, target / name, ignore=shutil.ignore_patterns("__pycache__", "README.md")
                )
            else:
                shutil.copy2(source, target / name)
        (target / "functions" / "README.md").write_text(FUNCTIONS_README)
        if not (target / ".gitignore").exists():
            (target / ".gitignore").write_text(GITIGNORE)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}.", hint="Choose another folder.") from error


def use_plate(target: Path, plate: Path) -> None:
    """Put the plate into the new configuration, all else (comments too) as in the template."""
    path = target / "config" / "config.yaml"
    root = target.resolve()
    shown = plate.resolve().relative_to(root) if root in plate.resolve().parents else plate.resolve()
    text = path.read_text().replace("- path: demo/plate", f"- path: {json.dumps(str(shown))}")
    path.write_text(text)


def profiles(arguments: argparse.Namespace) -> int:
    """Install the profiles where ``snakemake --profile NAME`` looks for them."""
    source = template_folder() / "profiles"
    # The default profile belongs to a repository; Snakemake finds it there by itself.
    names = sorted(p.name for p in source.iterdir() if p.is_dir() and p.name != "default")
    if arguments.action == "list":
        for name in names:
            print(f"{name}: {source / name / 'config.yaml'}")
        return 0
    folder = user_profiles()
    for name in names:
        target = folder / name
        if target.exists() and not arguments.force:
            print(f"{target} exists and was left alone (--force replaces it)", file=sys.stderr)
            continue
        shutil.copytree(source / name, target, dirs_exist_ok=True)
        print(f"{target}: use it with snakemake --profile {name}")
    return 0


def user_profiles() -> Path:
    """Snakemake's profile folder of this user."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "snakemake"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "snakemake"
