"""``hcs clean``: what could go of the results of a plate, and how much room that makes; and removing it."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hcs_steps.compile.plan import Plan
from hcs_steps.errors import ConfigError, HcsError
from hcs_steps.operations._chosen import ChosenPlate, choose_plates
from hcs_steps.operations.mending._exclusive import exclusive
from hcs_steps.operations.mending._snakemake_notes import remove_notes, stale_notes
from hcs_steps.operations.mending._survey import FOREIGN, LEFT_OUT, Leftover, counted, size_of, size_text
from hcs_steps.operations.mending.clean import (
    Intermediate,
    find_intermediates,
    remove_intermediates,
    remove_leftovers,
    remove_plate,
)
from hcs_steps.operations.mending.leftovers import find_leftovers

INTERMEDIATES, LEFTOVERS, WHOLE = "--intermediates", "--leftovers", "--plate"


def run(arguments: argparse.Namespace) -> int:
    """List what could go of the chosen plates, or remove it. 0 if that could be done, 2 if a plate is in use, or if
    nobody said yes to removing a whole one.
    """
    codes = []
    for plate in choose_plates(arguments.plates, Path(arguments.config)):
        try:
            if not plate.results.root.is_dir():
                print(f"{plate.name}: there is nothing in {plate.results.root}.")
            elif arguments.plate:
                _remove_plate(plate, arguments.yes)
            elif arguments.intermediates or arguments.leftovers:
                _remove(plate, arguments)
            else:
                _list(plate)
            codes.append(0)
        except HcsError as error:  # of this plate; the others are cleaned
            print(f"hcs: {error}", file=sys.stderr)
            codes.append(2)
    return max(codes)


def _list(plate: ChosenPlate) -> None:
    plan, results = Plan.load(plate.results.plan), plate.results
    images, leftovers = find_intermediates(plan, results), find_leftovers(plan, results)
    print(f"{plate.name}: {size_text(size_of(results.root))} in {results.root}. What could go:")
    rows = [*_image_rows(images, kept=False), *_leftover_rows(leftovers)]
    if notes := stale_notes(results, Path()):
        size = sum(note.stat().st_size for note in notes)
        rows.append(
            (LEFTOVERS, counted(len(notes), "file"), size, "Snakemake's notes on files that are gone")
        )
    for row in rows:
        _print_row(*row)
    if not rows:
        print("  nothing but the plate as a whole (hcs clean --plate)")
    staying = [*_image_rows(images, kept=True), *_staying_rows(leftovers)]
    if staying:
        print("What stays:")
    for row in staying:
        _print_row(*row)


def _image_rows(images: Iterable[Intermediate], *, kept: bool) -> Iterator[tuple[str, str, int, str]]:
    """(what removes it, how many, bytes, what it is) of intermediate images, by stage and reason."""
    groups: dict[tuple[str, str], list[Intermediate]] = defaultdict(list)
    for item in images:
        if bool(item.kept) == kept:
            groups[item.stage, item.kept].append(item)
    for (stage, why), items in groups.items():
        units = counted(sum(len(item.paths) for item in items), "unit")
        text = f"intermediate images of {stage}" + (f": {why}" if why else "")
        yield "" if kept else INTERMEDIATES, units, sum(item.size for item in items), text


def _leftover_rows(leftovers: Iterable[Leftover]) -> Iterator[tuple[str, str, int, str]]:
    for (kind, why), items in _grouped(leftovers).items():
        if kind not in (FOREIGN, LEFT_OUT):
            yield LEFTOVERS, _files(items), sum(item.size for item in items), why


def _staying_rows(leftovers: Iterable[Leftover]) -> Iterator[tuple[str, str, int, str]]:
    for (kind, why), items in _grouped(leftovers).items():
        size = sum(item.size for item in items)
        if kind == LEFT_OUT:
            yield "", _files(items), size, f"{why}: 'select' can take them in again without computing them"
        elif kind == FOREIGN:
            yield "", _files(items), size, f"{why}: {', '.join(item.path.name for item in items[:4])}"


def _grouped(leftovers: Iterable[Leftover]) -> dict[tuple[str, str], list[Leftover]]:
    groups: dict[tuple[str, str], list[Leftover]] = defaultdict(list)
    for item in leftovers:
        groups[item.kind, item.why].append(item)
    return groups


def _files(items: Sequence[Leftover]) -> str:
    return counted(len(items), "file" if all(item.path.is_file() for item in items) else "entry", "entries")


def _print_row(option: str, count: str, size: int, text: str) -> None:
    print(f"  {option:<16} {count:>14} {size_text(size):>9}  {text}")


def _remove(plate: ChosenPlate, arguments: argparse.Namespace) -> None:
    results = plate.results
    plan = Plan.load(results.plan)
    with exclusive(results), _progress(plate.name) as told:
        if arguments.intermediates:
            found = find_intermediates(plan, results)
            size = remove_intermediates(plan, results, found, told)
            units = sum(len(item.paths) for item in found if not item.kept)
            print(
                f"{plate.name}: removed intermediate images of {counted(units, 'result')}, {size_text(size)}."
            )
            for row in _image_rows(found, kept=True):
                _print_row("stays", *row[1:])
        if arguments.leftovers:
            going = [item for item in find_leftovers(plan, results) if item.kind not in (FOREIGN, LEFT_OUT)]
            size = remove_leftovers(results, going, told)
            notes = stale_notes(results, Path())
            remove_notes(notes)
            print(
                f"{plate.name}: removed {counted(len(going), 'leftover')}, {size_text(size)}, and "
                f"{counted(len(notes), 'note')} of Snakemake on files that are gone."
            )


def _remove_plate(plate: ChosenPlate, yes: bool) -> None:
    results = plate.results
    try:
        plan = Plan.load(results.plan)
    except ConfigError:  # of another version, or damaged: what hcs-steps makes can be told by its names
        plan = None
    if not yes:
        _ask(plate)
    with exclusive(results), _progress(plate.name) as told:
        strange = remove_plate(plan, results, told)
        remove_notes(stale_notes(results, Path()))
    print(f"{plate.name}: removed everything that hcs-steps has made of it from {results.root}.")
    for item in strange:
        print(f"  stays, since it is {item.why}: {item.path}")


def _ask(plate: ChosenPlate) -> None:
    """Go on only if somebody says yes."""
    what = f"everything that hcs-steps has made of {plate.name} ({plate.results.root})"
    refusal = ConfigError(f"Removing {what} takes a yes.", hint="Add --yes.")
    if not sys.stdin.isatty():
        raise refusal
    size = size_text(size_of(plate.results.root))
    answer = input(f"Remove {what}, {size}? The plate's own folder is not touched. [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise refusal


@contextmanager
def _progress(name: str) -> Iterator[Callable[[Path], None]]:
    """Which folder is being removed, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda path: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"cleaning {name}") as status:
        yield lambda path: status.update(f"cleaning {name}: {path}")
