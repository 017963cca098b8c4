"""Snakemake's notes on files of a plate that are gone.

For every file that a job has made Snakemake keeps a note in ``.snakemake/metadata`` of the folder it runs in. It has
the file's path for a name (URL-safe base64, in parts ``@.../...`` where that is too long). Snakemake replaces a note
when the file is made again, and never removes one.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterable
from pathlib import Path

from hcs_steps.results import Results
from hcs_steps.storage.atomic import storage_errors

METADATA = Path(".snakemake", "metadata")


def stale_notes(results: Results, folder: Path) -> tuple[Path, ...]:
    """The notes of Snakemake runs in ``folder`` on files of a plate that are not there. Without them the next run does
    the same as with them: what is missing is made.
    """
    notes = folder / METADATA
    own = os.path.join(os.path.abspath(results.root), "")
    found = []
    for parent, _, names in os.walk(notes):
        for name in names:
            path = Path(parent, name)
            file = os.path.abspath(folder / _named(path.relative_to(notes)))
            if file.startswith(own) and not os.path.lexists(file):
                found.append(path)
    return tuple(found)


def remove_notes(notes: Iterable[Path]) -> None:
    """Remove notes, and folders that are empty then. May be interrupted at any moment."""
    for note in notes:
        with storage_errors("remove", note):
            note.unlink(missing_ok=True)
        folder = note.parent
        while folder.name.startswith("@") and not os.listdir(folder):
            folder.rmdir()
            folder = folder.parent


def _named(note: Path) -> str:
    """The path that a note is named after; nothing where it is none of Snakemake's."""
    text = "".join(part.removeprefix("@") for part in note.parts)
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
