"""Which plates a command is about: results folders, names of plates, or all of a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import ConfigError, HcsError, nearest
from hcs_steps.operations.watching.status import PlateStatus, StatusReader
from hcs_steps.results import Results


@dataclass(frozen=True)
class ChosenPlate:
    """A plate as a command was asked for it: ``name`` is what commands take for it."""

    name: str
    results: Results


def choose_plates(names: Sequence[str], config: Path) -> list[ChosenPlate]:
    """The plates that are meant by results folders or names of plates; without any, all of the configuration.

    A configuration is read only where it is needed, so results can be asked for wherever they lie. `ConfigError` for
    a folder that holds no results, and for a name that the configuration does not have.
    """
    if not names and not config.is_file():
        raise ConfigError(
            f"There is no configuration {config} here, so which plate is meant is not known.",
            hint="Go to the lab repository, or name a results folder (the one with plan.json in it).",
        )
    chosen = [_of_folder(name) for name in names]
    if names and all(chosen):
        return [plate for plate in chosen if plate]
    configured = _configured(config)
    if not names:
        return [ChosenPlate(name, results) for name, results in configured.items()]
    return [plate or _of_name(name, configured, config) for name, plate in zip(names, chosen, strict=True)]


class PlateWatch:
    """The status of a chosen plate, read again and again; a plan that has changed is read anew."""

    def __init__(self, plate: ChosenPlate) -> None:
        self.plate = plate
        self.trouble = ""
        self._reader: StatusReader | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def reader(self) -> StatusReader:
        """What has read the last status."""
        assert self._reader is not None
        return self._reader

    @property
    def plan(self) -> Plan:
        """The plan of the last status."""
        return self.reader.plan

    def read(self) -> PlateStatus | None:
        """The status now, or None if there is none; ``trouble`` then says why in one paragraph."""
        results = self.plate.results
        self.trouble = ""
        try:
            status = results.plan.stat()
        except FileNotFoundError:
            self.trouble = (
                f"{self.plate.name} has never run: there is no plan in {results.root}. "
                "Start it with hcs run (hcs run -n says what would be done)."
            )
            return None
        except OSError as error:
            self.trouble = f"{self.plate.name}: {results.plan} cannot be read: {error.strerror or error}."
            return None
        stamp = (status.st_mtime_ns, status.st_ino)
        try:
            if self._reader is None or stamp != self._stamp:
                self._reader, self._stamp = StatusReader(Plan.load(results.plan), results), stamp
        except HcsError as error:
            self.trouble = f"{self.plate.name}: {error}"
            return None
        return self._reader.read()


def _of_folder(name: str) -> ChosenPlate | None:
    """The plate whose results folder, or a file right in it, is meant; None if it is not a path that exists."""
    path = Path(name)
    if path.is_file() and path.parent.joinpath("plan.json").is_file():
        path = path.parent
    if not path.is_dir():
        return None
    results = Results(path)
    if not results.plan.is_file():
        raise ConfigError(
            f"{path} is not the results of a plate: there is no plan.json in it.{_inside(path)}",
            hint="Name the folder that holds plan.json, or a plate of the configuration.",
        )
    return ChosenPlate(name.rstrip("/") or name, results)


def _inside(folder: Path) -> str:
    """Results folders in a folder that is none itself."""
    found = sorted(plan.parent.name for plan in folder.glob("*/plan.json"))[:8]
    return f" It holds those of {', '.join(found)}." if found else ""


def _of_name(name: str, configured: dict[str, Results], config: Path) -> ChosenPlate:
    if name not in configured:
        raise ConfigError(
            f"There is no folder {name}, and no plate of that name in {config}.",
            hint=nearest(name, configured),
        )
    return ChosenPlate(name, configured[name])


def _configured(config: Path) -> dict[str, Results]:
    """The results of the plates of a configuration, and those of the modes that have a folder of their own."""
    from hcs_steps.emit.configured import configured_plates
    from hcs_steps.pipeline.modes import BUILT_IN
    from hcs_steps.settings import load_settings

    found = {}
    for name, plate in configured_plates(load_settings(config)).items():
        found[name] = plate.results
        for mode, meant in {**BUILT_IN, **plate.pipeline.modes}.items():
            other = Results(plate.results.root.with_name(f"{plate.results.root.name}-{mode}"))
            if meant.narrows and other.plan.is_file():
                found[f"{name}-{mode}"] = other
    return found
