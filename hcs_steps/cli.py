"""The ``hcs`` command: the parser, and nothing that takes time to import.

Every subcommand lives in `hcs_steps.commands` and is imported when it is called.
Exit codes: 0 all done, 1 some units failed, 2 nothing could start, 3 time limit, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from hcs_steps import __version__
from hcs_steps.errors import HcsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    module = importlib.import_module(f"hcs_steps.commands.{arguments.module}")
    try:
        return int(getattr(module, arguments.function)(arguments))
    except HcsError as error:
        print(f"hcs: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe (head, less) has gone; nothing is wrong
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="hcs",
        description="High-content-screening plates through image-analysis pipelines, with Snakemake.",
    )
    parser.add_argument("--version", action="version", version=f"hcs-steps {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    inspect = _add(commands, "inspect", "inspect", "show what a plate folder holds")
    inspect.add_argument("plate", metavar="PLATE", help="the plate's folder")
    inspect.add_argument("--json", action="store_true", help="the same facts as JSON")
    inspect.add_argument("--format", default="auto", help="the plate's format (default: found out)")
    inspect.add_argument(
        "--pattern",
        help="file-name pattern: a regular expression with named groups, a YAML mapping, or @FILE with one",
    )
    inspect.add_argument("--pixel-size-um", type=float, help="edge length of a pixel in micrometres")
    inspect.add_argument("--grid", help="how sites are laid out, e.g. 5x5 or '5x5 by columns snake'")
    inspect.add_argument(
        "--deep", action="store_true", help="read all pixels, to find every copied or constant plane"
    )
    inspect.add_argument("--no-cache", action="store_true", help="read the plate anew, and keep nothing")

    compile_ = _add(commands, "compile", "compile", "show the plan of every plate as a table")
    _configured(compile_)
    compile_.add_argument("--json", action="store_true", help="print the plans as JSON")
    compile_.add_argument("--write", action="store_true", help="write plans and rules to the results folder")

    run = _add(commands, "run", "run", "run the workflow: Snakemake, with a live display")
    _launching(run)
    run.add_argument("--mode", help="a mode of the pipeline: full, preview, analysis_only, or one of its own")
    run.add_argument(
        "--from-stage", dest="from_step", metavar="STAGE", help="use what earlier stages have made"
    )
    run.add_argument("--until", metavar="STAGE", help="stop after this stage")
    run.add_argument("--force", action="store_true", help="compute again what is up to date")
    run.add_argument("--timeout", metavar="TIME", help="stop after this time, e.g. 90m or 12h (exit code 3)")
    run.add_argument(
        "--by-plate",
        nargs="?",
        const=1,
        type=_positive,
        metavar="N",
        help="a Snakemake for each plate, N at a time (default: 1), so that many plates are planned in little memory",
    )

    retry = _add(commands, "retry", "run", "run again exactly what failed, and what depends on it", "retry")
    _launching(retry)
    retry.add_argument("--stage", help="only what failed in this stage")

    _add_watching(commands)
    _add_mending(commands)

    step = _add(commands, "step", "step", "run one stage over one or more units (what every job calls)")
    step.add_argument("--plan", required=True, metavar="FILE", help="the plate's plan.json")
    step.add_argument("--stage", required=True, help="name of the stage")
    which = step.add_mutually_exclusive_group(required=True)
    which.add_argument("--unit", action="append", metavar="UNIT", help="a unit, e.g. A01; may be repeated")
    which.add_argument("--job", help="a job of the plan: all its units")
    step.add_argument(
        "--marker", metavar="FILE", help="write the job's marker there and exit 0 if a unit failed"
    )
    step.add_argument("--log", metavar="FILE", help="write the log there instead of the terminal")
    step.add_argument("--force", action="store_true", help="compute again what is up to date")
    step.add_argument(
        "--debug", action="store_true", help="let errors through, into the debugger on a terminal"
    )

    finish = _add(
        commands, "finish", "step", "say what failed on a plate (the workflow's last job)", "finish"
    )
    finish.add_argument("--plan", required=True, metavar="FILE", help="the plate's plan.json")
    finish.add_argument("--marker", metavar="FILE", help="file to write if nothing failed")
    finish.add_argument("--log", metavar="FILE", help="write the summary there too")

    report = _add(commands, "report", "report", "make the page of a plate, or of a screen of several plates")
    what = report.add_mutually_exclusive_group()
    what.add_argument("--plan", metavar="FILE", help="of this plate only: its plan.json")
    what.add_argument(
        "--screen", action="store_true", help="one overview page and joined tables of all plates"
    )
    _configured(report)

    view = _add(commands, "view", "view", "open a plate's images in napari, or say how")
    view.add_argument("plate", metavar="PLATE", help="a results folder, an .ome.zarr, or the name of a plate")
    view.add_argument("--step", help="the step whose images to open (default: the last kept ones)")
    view.add_argument("--well", help="open this well's first site with its labels")
    _configured(view)

    pipeline = _add(commands, "pipeline", "pipeline", "convert a pipeline file")
    pipeline.add_argument("to", choices=["to-python", "to-yaml"], help="what to convert to")
    pipeline.add_argument("file", metavar="FILE", help="the pipeline, YAML or Python")
    pipeline.add_argument("-o", "--output", metavar="FILE", help="write there instead of the terminal")

    functions = _add(commands, "functions", "functions", "list the built-in step functions")
    functions.add_argument("name", nargs="?", help="tell everything about this one")

    schemas = _add(
        commands, "schemas", "pipeline", "write the JSON schemas of the configuration files", "schemas"
    )
    schemas.add_argument("folder", metavar="FOLDER", help="where to write them")

    profiles = _add(commands, "profiles", "lab", "install the Snakemake profiles for this user", "profiles")
    profiles.add_argument("action", choices=["install", "list"])
    profiles.add_argument("--force", action="store_true", help="replace profiles of the same name")

    init = _add(commands, "init", "lab", "lay out a new lab repository", "init")
    init.add_argument("folder", metavar="FOLDER", help="the repository to make")
    init.add_argument("--plate", help="a plate to start with")

    demo = _add(commands, "demo", "demo", "make a small plate with known truth, run it, compare")
    demo.add_argument(
        "folder", metavar="FOLDER", nargs="?", default="demo", help="where to work (default: demo)"
    )
    demo.add_argument("--broken-well", metavar="WELL", help="truncate one image of this well")
    demo.add_argument(
        "--layout",
        default="imagexpress",
        help="whose names, folders and metadata the plate has: imagexpress (default), harmony, yokogawa, ...",
    )
    demo.add_argument("--cores", default="all", help="Snakemake's --cores")
    return parser


def _add_watching(commands: object) -> None:
    """The commands that say what is and was going on."""
    status = _add(commands, "status", "status", "how far plates are, also while a run goes on elsewhere")
    _plates(status)
    status.add_argument("--json", action="store_true", help="print it for programs")
    how = status.add_mutually_exclusive_group()
    how.add_argument("--watch", action="store_true", help="keep it up to date until the run ends")
    how.add_argument(
        "--efficiency",
        action="store_true",
        help="memory and time that stages asked for, against what they used",
    )
    _configured(status)

    failures = _add(commands, "failures", "failures", "what has failed and is still open")
    _plates(failures)
    failures.add_argument("--json", action="store_true", help="print it for programs")
    failures.add_argument("--full", action="store_true", help="with tracebacks")
    _configured(failures)

    logs = _add(commands, "logs", "logs", "what the jobs of a well have said")
    logs.add_argument(
        "well", metavar="WELL", help="a well, e.g. A01; 'plate' for the jobs of the whole plate"
    )
    logs.add_argument("--stage", help="only of this stage")
    logs.add_argument(
        "--plate", metavar="PLATE", help="a results folder or a plate's name, if several have the well"
    )
    logs.add_argument("--follow", action="store_true", help="go on printing while the well is computed")
    _configured(logs)

    explain = _add(
        commands, "explain", "explain", "how a well's results were made, and whether they would be again"
    )
    explain.add_argument(
        "well", metavar="WELL", help="a well or a unit, e.g. A01, or 'plate' for the plate's stages"
    )
    explain.add_argument("--stage", help="only this stage")
    explain.add_argument("--plate", metavar="NAME", help="the plate, where the configuration has several")
    explain.add_argument("--mode", help="against the plan of this mode")
    explain.add_argument("--json", action="store_true", help="the same as JSON")
    _configured(explain)

    graph = _add(commands, "graph", "graph", "draw the stages and what reads what")
    graph.add_argument(
        "plate", nargs="?", metavar="PLATE", help="a plate by name, or a results folder (default: all)"
    )
    graph.add_argument("--svg", metavar="FILE", help="write a picture there")
    graph.add_argument("--mode", help="the plan of this mode")
    _configured(graph)


def _add_mending(commands: object) -> None:
    """The commands that check results and make room."""
    verify = _add(
        commands, "verify", "verify", "check results against their records: existence, sizes, checksums"
    )
    _plates(verify)
    verify.add_argument(
        "--fix", action="store_true", help="let what is damaged be computed again by the next run"
    )
    verify.add_argument("--quick", action="store_true", help="existence and sizes only")
    verify.add_argument(
        "--jobs", type=int, default=4, metavar="N", help="so many files at a time (default: 4)"
    )
    _configured(verify)

    clean = _add(
        commands, "clean", "clean", "show what could be removed and how much room that makes, or remove it"
    )
    _plates(clean)
    clean.add_argument(
        "--intermediates",
        action="store_true",
        help="images between stages that are done and not kept as results",
    )
    clean.add_argument("--leftovers", action="store_true", help="what former plans and killed processes left")
    clean.add_argument("--plate", action="store_true", help="everything that was made of the plate")
    clean.add_argument("--yes", action="store_true", help="do not ask")
    _configured(clean)


def _plates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "plates",
        nargs="*",
        metavar="PLATE",
        help="results folders or names of plates (default: all of the configuration)",
    )


def _add(
    commands: object, name: str, module: str, text: str, function: str = "run"
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)  # type: ignore[attr-defined]
    parser.set_defaults(module=module, function=function)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def _launching(parser: argparse.ArgumentParser) -> None:
    """The options of commands that start Snakemake."""
    _configured(parser)
    parser.add_argument(
        "--plates",
        action="append",
        metavar="NAME",
        help="only these plates (several: repeated, or with commas)",
    )
    parser.add_argument(
        "--wells", metavar="WELLS", help="only these wells: A01,B02 or row:A or col:01-06 or A01:C12"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="so many at a time (default: the profile's)")
    parser.add_argument(
        "--profile", help="Snakemake's profile: slurm, workstation, ... (default: profiles/default)"
    )
    parser.add_argument("--dry-run", "-n", action="store_true", help="show what would run, and why")
    parser.add_argument(
        "snakemake", nargs="*", metavar="-- ARGUMENT", help="further arguments for Snakemake, after --"
    )


def _configured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="config/config.yaml", metavar="FILE", help="default: config/config.yaml"
    )


if __name__ == "__main__":
    raise SystemExit(main())
