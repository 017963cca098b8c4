"""``hcs view``: open the images of a plate in napari, or say how to look at them."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import MEND, ConfigError, PlateError, StorageError, nearest
from hcs_steps.plate.wells import canonical_well, compact_wells, parse_well
from hcs_steps.report._shown import shown_step
from hcs_steps.results import Results
from hcs_steps.storage._placeholder import STATE

PLUGIN = "napari-ome-zarr"
_METADATA = ("zarr.json", ".zattrs")
"""Where a group of NGFF 0.5 and one of 0.4 say what they are."""


@dataclass(frozen=True)
class Images:
    """A store to be opened; ``results`` is the folder of the plate's results where it lies in one."""

    store: Path
    results: Results | None = None

    @property
    def is_zarr(self) -> bool:
        """Whether it is OME-Zarr."""
        return any((self.store / name).is_file() for name in _METADATA)


def run(arguments: argparse.Namespace) -> int:
    """Open the plate's images, or those of one well with their labels. 0 also where napari is missing: then the
    ways to look at them are printed.
    """
    images = find_images(arguments.plate, arguments.step, Path(arguments.config))
    if not images.is_zarr:
        _tell_tiff(images, arguments.well)
        return 0
    target = well_image(images.store, arguments.well) if arguments.well else images.store
    napari = shutil.which("napari")
    if napari is None:
        _tell(images, target, "napari is not installed.", f'pip install "napari[all]" {PLUGIN}')
        return 0
    if not _has_plugin(napari):
        _tell(images, target, f"napari has no reader for OME-Zarr ({napari}).", f"pip install {PLUGIN}")
        return 0
    command = [napari, "--plugin", PLUGIN, str(target)]
    print(shlex.join(command), flush=True)
    return 1 if subprocess.run(command, check=False).returncode else 0


def find_images(plate: str, step: str | None, config: Path) -> Images:
    """The store that is meant by a results folder, an OME-Zarr plate, or the name of a plate in a configuration.

    ``step`` chooses whose images of a plate; by default those that the report shows.
    """
    folder = Path(plate)
    if folder.is_dir() and not Results(folder).plan.is_file():
        if not Images(folder).is_zarr:
            raise PlateError(
                f"{folder} is neither the results of a plate nor an OME-Zarr plate.",
                hint="Give the folder with plan.json in it, an .ome.zarr, or the name of a plate.",
            )
        if step is not None:
            raise ConfigError(
                f"{folder} is one store, so there is no step {step!r} to choose.", hint="Leave out --step."
            )
        return Images(
            folder, next((Results(p) for p in folder.resolve().parents if Results(p).plan.is_file()), None)
        )
    results = Results(folder) if folder.is_dir() else _results_of(plate, config)
    plan = Plan.load(results.plan)
    store = results.root / plan.steps[_step(plan, step)].store
    if not store.is_dir():
        raise StorageError(
            f"{store} does not exist: no well of {plan.plate.id} has come so far.",
            hint=f"Run snakemake, or see {results.failures_table}.",
        )
    return Images(store, results)


def well_image(store: Path, well: str) -> Path:
    """The first image of a well in an OME-Zarr plate; its labels lie in it."""
    plate = _ngff(store).get("plate")
    if not isinstance(plate, dict):
        raise StorageError(
            f"{store} is not a plate.", hint="Give an .ome.zarr that holds wells, or leave out --well."
        )
    wells = {(w["rowIndex"], w["columnIndex"]): str(w["path"]) for w in plate["wells"]}
    if parse_well(well) not in wells:
        names = {(w["path"]).replace("/", "") for w in plate["wells"]}
        raise PlateError(
            f"{store} has no well {canonical_well(well)}.", hint=f"It has {compact_wells(names) or 'none'}."
        )
    folder = store / wells[parse_well(well)]
    for image in _ngff(folder).get("well", {}).get("images", ()):
        found = folder / str(image["path"])
        announced = _attributes(found).get("hcs_steps", {}).get("state") == STATE
        if _ngff(found).get("multiscales") and not announced:
            return found
    raise StorageError(
        f"Well {canonical_well(well)} has no images in {store}.",
        hint="Its unit has not run, or has failed: see failures.csv in the results.",
    )


def _results_of(name: str, config: Path) -> Results:
    """The results folder of a plate of the configuration."""
    from hcs_steps.emit.prepare import configured_results
    from hcs_steps.settings import load_settings

    plates = configured_results(load_settings(config))
    if name not in plates:
        raise ConfigError(
            f"There is no folder {name}, and no plate of that name in {config}.", hint=nearest(name, plates)
        )
    return plates[name]


def _step(plan: Plan, name: str | None) -> int:
    """Index of the step whose store is meant; labels may lie in that of a step before."""
    written = {step.name: index for index, step in enumerate(plan.steps) if step.written}
    if name is None:
        shown = shown_step(plan)
        if shown is None:
            raise ConfigError(
                f"{plan.plate.id} keeps no images.",
                hint="Set 'keep: true' on a step and run snakemake again.",
            )
        return shown
    homes = {
        step.name: step.labels_in for step in plan.steps if step.labels and plan.steps[step.labels_in].written
    }
    known = homes | written
    if name not in known:
        raise ConfigError(f"{plan.plate.id} has no images of a step {name!r}.", hint=nearest(name, known))
    return known[name]


def _ngff(group: Path) -> dict[str, Any]:
    """The NGFF metadata of a group, of either version; empty if it has none."""
    attributes = _attributes(group)
    ome = attributes.get("ome", {}) if (group / _METADATA[0]).is_file() else attributes
    return ome if isinstance(ome, dict) else {}


def _attributes(group: Path) -> dict[str, Any]:
    """The attributes of a group; empty if it has none."""
    for name in _METADATA:
        try:
            data = json.loads((group / name).read_bytes())
            attributes = data.get("attributes", {}) if name == _METADATA[0] else data
            return dict(attributes)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise StorageError(f"{group / name} cannot be read: {error}.", hint=MEND) from None
    return {}


def _has_plugin(napari: str) -> bool:
    """Whether this napari, which may be of another environment, lists the plugin; True where it cannot tell."""
    try:
        listed = subprocess.run(
            [napari, "--plugin-info"], check=False, capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.SubprocessError):
        return True
    return listed.returncode != 0 or PLUGIN in listed.stdout + listed.stderr


def _tell(images: Images, target: Path, why: str, install: str) -> None:
    """Print the ways to open OME-Zarr."""
    print(why, file=sys.stderr)
    print(f"images   {target.resolve()}")
    for other in _other_stores(images):
        print(f"also     {other.resolve()}")
    print(f"napari   {install}")
    print(f"         napari --plugin {PLUGIN} {shlex.quote(str(target))}")
    print(
        "Fiji     Help > Update > Manage update sites > MoBIE, then Plugins > MoBIE > Open, and the folder above"
    )
    folder = shlex.quote(str(images.store.resolve().parent))
    print(
        f"browser  any viewer of OME-Zarr, such as vizarr, on a server of one's own that lets it (CORS): {folder}"
    )


def _tell_tiff(images: Images, well: str | None) -> None:
    """Print where the TIFF files are."""
    folder = images.store / canonical_well(well) if well else images.store
    if not folder.is_dir():
        raise StorageError(
            f"Well {well} has no images in {images.store}.",
            hint="Its unit has not run, or has failed: see failures.csv in the results.",
        )
    print(f"images   {folder.resolve()}")
    print("         TIFF files: drop them onto Fiji or napari; labels are in the folders called labels")


def _other_stores(images: Images) -> list[Path]:
    """The other OME-Zarr plates of the same results."""
    if images.results is None:
        return []
    found = sorted(images.results.images.glob("*.zarr"))
    return [store for store in found if store.resolve() != images.store.resolve() and Images(store).is_zarr]
