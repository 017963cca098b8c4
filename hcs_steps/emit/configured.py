"""Which plates of a configuration are run, in which mode, with which stages, and where their results go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hcs_steps.compile.request import Choice, CompileOptions
from hcs_steps.errors import ConfigError, nearest
from hcs_steps.pipeline.files import load_pipeline
from hcs_steps.pipeline.modes import ModeConfig, all_modes, find_mode
from hcs_steps.pipeline.step import Pipeline
from hcs_steps.plate import expand_wells
from hcs_steps.plate.inventory import Inventory
from hcs_steps.results import Results
from hcs_steps.run.records import read_json
from hcs_steps.settings import PlateSettings, WorkflowSettings, plain_id, plate_ids

_GATE = {"stage", "fingerprint"}


@dataclass(frozen=True)
class ConfiguredPlate:
    """One plate of a configuration: its settings, its pipeline, the mode it is run in, and where its results go."""

    settings: PlateSettings
    pipeline: Pipeline
    mode: ModeConfig
    results: Results


def configured_plates(settings: WorkflowSettings) -> dict[str, ConfiguredPlate]:
    """The chosen plates of a configuration by their ids. Nothing is read but pipelines."""
    names = plate_ids(settings.plates)
    chosen = names if settings.only_plates is None else settings.only_plates
    for name in chosen:
        if name not in names:
            raise ConfigError(f"The configuration has no plate {name!r}.", hint=nearest(name, names))
    plates: dict[str, ConfiguredPlate] = {}
    folders: dict[str, Path] = {}
    for plate, name in zip(settings.plates, names, strict=True):
        pipeline = plate_pipeline(plate)
        mode = find_mode(pipeline.modes, settings.mode, f"The pipeline {pipeline.name!r}")
        folders[name] = results_folder(settings.output, name, pipeline)
        if name != plain_id(plate):
            _check_not_moved(plate, results_folder(settings.output, plain_id(plate), pipeline), folders[name])
        results = Results(_of_mode(folders[name], settings.mode) if mode.narrows else folders[name])
        plates[name] = ConfiguredPlate(plate, pipeline, mode, results)
    _check_apart(plates, folders)
    return {name: plates[name] for name in names if name in chosen}


def _of_mode(folder: Path, mode: str) -> Path:
    return folder.with_name(f"{folder.name}-{mode}")


def _check_not_moved(plate: PlateSettings, former: Path, folder: Path) -> None:
    """Refuse to begin anew with a plate that has results, only because another one is called the same since."""
    told = (read_json(Results(former).plan) or {}).get("plate")
    path = told.get("path") if isinstance(told, dict) else None
    if isinstance(path, str) and Path(path).resolve() == plate.path.resolve():
        raise ConfigError(
            f"{former} holds results of the plate {plate.path}, which would go to {folder} from now on, because "
            "another plate is called the same.",
            hint="Give the other plate a 'name:' of its own; or, to begin anew, remove the old results.",
        )


def _check_apart(plates: Mapping[str, ConfiguredPlate], folders: Mapping[str, Path]) -> None:
    """Refuse a plate whose results would be those of a mode of another one."""
    owners = {folder: name for name, folder in folders.items()}
    for name, plate in plates.items():
        for mode, found in all_modes(plate.pipeline.modes).items():
            other = owners.get(_of_mode(folders[name], mode)) if found.narrows else None
            if other is not None:
                raise ConfigError(
                    f"The plate {other} and the mode {mode} of the plate {name} would have one results folder.",
                    hint="Give one of the plates another 'name:', or the mode another name.",
                )


def narrowed(options: CompileOptions, mode: ModeConfig, inventory: Inventory) -> CompileOptions:
    """The options for the part of the plate that a mode looks at."""
    if not mode.narrows:
        return options
    wells = options.wells
    if mode.wells is not None or mode.every is not None:
        chosen = expand_wells(wells, inventory.wells)
        wells = {"include": list(chosen)}
        if mode.wells is not None:
            wells = {"include": list(expand_wells(mode.wells, chosen))}
        if mode.every is not None:
            wells["every"] = mode.every
    select = dict(options.select)
    if mode.sites is not None:
        sites = select.get("site") or sorted({plane.site for plane in inventory.planes})
        select["site"] = list(sites)[: mode.sites]
    return replace(options, wells=wells, select=select)


def choice_of(settings: WorkflowSettings, plate: ConfiguredPlate) -> Choice:
    """Which stages are run: by the mode, over which the settings of this run go, and by the gates that are open."""
    mode = plate.mode
    return Choice(
        mode=settings.mode,
        from_step=settings.from_step or mode.from_step,
        until=settings.until or mode.until,
        skip=tuple(mode.skip),
        existing_images=mode.existing_images and settings.from_step is None,
        shown=_shown_gates(plate.results),
    )


def _shown_gates(results: Results) -> dict[str, str]:
    """Gated stage -> fingerprint of what people have been shown of it."""
    found = (read_json(path) for path in sorted(results.gate("x").parent.glob("*.json")))
    return {
        str(gate["stage"]): str(gate["fingerprint"])
        for gate in found
        if gate and len(gate.keys() & _GATE) == 2
    }


def results_folder(output: Path, name: str, pipeline: Pipeline) -> Path:
    """Where a plate's results go, by the settings and the pipeline's path planning."""
    paths = pipeline.config.path_planning
    suffix = paths.output_dir_suffix if paths.enable_path_planning else ""
    return (paths.global_output_folder or output) / f"{name}{suffix}"


def plate_pipeline(plate: PlateSettings) -> Pipeline:
    """The pipeline that a plate's settings name."""
    if plate.pipeline is None:
        raise ConfigError(
            f"The plate {plate.path} has no pipeline.",
            hint="Set 'pipeline:' for it or under 'defaults:', e.g. config/pipelines/count.yaml.",
        )
    return load_pipeline(plate.pipeline)
