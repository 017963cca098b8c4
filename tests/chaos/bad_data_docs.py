"""The section "Bad data" of docs/reliability.md: ``python tests/chaos/bad_data_docs.py`` writes it anew."""

from __future__ import annotations

from pathlib import Path

# Each of these enters its cases.
import bad_data_functions  # noqa: F401
import bad_data_images  # noqa: F401
import bad_data_plates  # noqa: F401
import bad_data_results  # noqa: F401
from bad_data_cases import CASES, table

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
HEADING = "## Bad data\n"
TITLE = "# Reliability\n"
TEXT = """
{count} kinds of bad data, each made, run and looked at by a test of its own (`pytest tests/chaos/test_bad_data.py`),
on a plate of three wells of which one (B01) is spoilt. In every case the plate stays as it was, the other wells are
computed, nothing half-written is left where readers look, and nothing hangs. *Seen* is part of the message or of the
notes that people get; a message names the file and says how to go on.

What is not told, because nobody can tell: a file that was replaced by another valid one of the same size within two
seconds, pixels that were damaged without their compression noticing, and a plate to which a lab's own function writes.
"""


def section() -> str:
    """The section as it must be."""
    return f"{HEADING}{TEXT.format(count=len(CASES))}\n{table()}"


def write() -> None:
    """Put the section into the file, in the place of the old one."""
    text = DOCS.read_text(encoding="utf-8") if DOCS.is_file() else TITLE
    before, found, after = text.partition(HEADING)
    rest = after[after.index("\n## ") + 1 :] if found and "\n## " in after else ""
    before = before if found else before.rstrip("\n") + "\n\n"
    DOCS.write_text(f"{before}{section()}{rest}", encoding="utf-8")


if __name__ == "__main__":
    write()
