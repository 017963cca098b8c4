"""Which of a plate's HTD files counts: exports repeat the same one in every folder."""

from __future__ import annotations

from dataclasses import dataclass

from hcs_steps.plate.formats.imagexpress.htd import Htd, read_htd
from hcs_steps.plate.headers import read_files
from hcs_steps.plate.inventory import Problem
from hcs_steps.plate.listing import FileEntry, FileListing

MAX_COMPARED = 16
"""So many HTD files are read and compared; one of each size is among them."""
SHOWN = 3


@dataclass(frozen=True)
class HtdChoice:
    """The HTD that is used, if any can be, its path, and what is to be said of the others."""

    htd: Htd | None = None
    path: str = ""
    problems: tuple[Problem, ...] = ()
    disagreements: tuple[str, ...] = ()


def choose_htd(listing: FileListing, plate: str) -> HtdChoice:
    """The outermost readable HTD that has the plate's name, or of any name if none has it."""
    files = listing.with_suffix(".htd")
    own = [entry for entry in files if _stem(entry) == plate.casefold()]
    foreign = [entry for entry in files if own and _stem(entry) != plate.casefold()]
    compared = _compared(own or files)
    problems = [Problem("excluded", entry.path, "The HTD file of another plate.") for entry in foreign]
    read: list[tuple[str, Htd]] = []
    for entry, result in zip(compared, read_files(listing.root, compared, read_htd), strict=True):
        if isinstance(result, Htd):
            read.append((entry.path, result))
        else:
            problems.append(Problem("unreadable", entry.path, f"{result} The plate was read without it."))
    if not read:
        return HtdChoice(problems=tuple(problems))
    (path, htd), *others = read
    differing = [other for other, each in others if each != htd]
    return HtdChoice(htd, path, tuple(problems), _differences(path, differing))


def _stem(entry: FileEntry) -> str:
    return entry.name.rpartition(".")[0].casefold()


def _compared(files: tuple[FileEntry, ...] | list[FileEntry]) -> list[FileEntry]:
    """The first ones, and among them one of each size; the outermost first."""
    of_size = {entry.size: entry for entry in reversed(files)}
    first = list(dict.fromkeys([*files[:1], *of_size.values(), *files]))[:MAX_COMPARED]
    return sorted(first, key=files.index)


def _differences(used: str, differing: list[str]) -> tuple[str, ...]:
    if not differing:
        return ()
    shown = ", ".join(differing[:SHOWN]) + (
        f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    )
    return (f"The HTD files differ: {used} is used, {shown} say something else.",)
