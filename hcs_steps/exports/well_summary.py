"""A summary CSV as MetaXpress exports it: header lines on the plate, then one row per well.

MetaXpress and AcuityXpress write lines of a name and a value, ``Barcode``, ``Plate Name``, ``Plate ID``,
``Description``, ``Acquisition User`` and ``Z Step``, then a row with the names of the columns, then the wells. Columns
are called after the module that measured them, ``Total Cells (MultiWaveScoring)``. Scripts find the table by skipping
these six lines, so a line that is not known stays, without a value. There is no published specification; the sources
are programs that read or write such files: OpenHCS (its MetaXpress format and ``consolidate_analysis_results``) and
public R scripts (``read.csv(skip = 6)``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hcs_steps.errors import StorageError
from hcs_steps.plate.wells import sort_wells
from hcs_steps.storage._csv import csv_line
from hcs_steps.storage.atomic import write_text

HEADER_LINES = ("Barcode", "Plate Name", "Plate ID", "Description", "Acquisition User", "Z Step")

Columns = Mapping[str, Sequence[Any] | Any]


def write_well_summary(
    path: Path,
    *,
    wells: Iterable[str],
    mean: Columns,
    sd: Columns,
    header: Mapping[str, str],
) -> None:
    """Write the summary of a plate; the text is that of `well_summary`."""
    write_text(Path(path), well_summary(wells=wells, mean=mean, sd=sd, header=header))


def well_summary(*, wells: Iterable[str], mean: Columns, sd: Columns, header: Mapping[str, str]) -> str:
    """The summary of a plate as CSV; ``pandas.read_csv(path, skiprows=6)`` reads the wells.

    Parameters
    ----------
    wells
        All wells of the plate, in any spelling. Each gets one row, row by row over the plate; one that ``mean`` does
        not have, or has not measured, has empty cells.
    mean, sd
        Profiles of the same wells with the means and the standard deviations of the objects, as
        `hcs_steps.report.profiles.well_profiles` makes them.
    header
        Values of some of `HEADER_LINES`.

    Returns
    -------
    ``Well Name``, ``Total Cells (<table>)`` for every column ``Count_<table>``, then for every feature
    ``<feature> Mean`` and ``<feature> SD``. Numbers are written as in the other tables, the shortest text that is the
    same float64.

    Raises
    ------
    StorageError
        If ``header`` has another line, or the two profiles are not of the same wells.
    """
    unknown = sorted(set(header) - set(HEADER_LINES))
    if unknown:
        raise StorageError(
            f"A well summary has no header line {unknown[0]!r}.", hint=f"It has {', '.join(HEADER_LINES)}."
        )
    rows = {str(well): row for row, well in enumerate(mean["Metadata_Well"])}
    if list(rows) != [str(well) for well in sd["Metadata_Well"]]:
        raise StorageError(
            "The means and the standard deviations are not of the same wells.", hint="Make both at once."
        )
    counts = [name for name in mean if name.startswith("Count_")]
    features = [name for name in mean if not name.startswith(("Count_", "Metadata_"))]
    lines = [csv_line((name, header.get(name, ""))) for name in HEADER_LINES]
    names = [f"{feature} {what}" for feature in features for what in ("Mean", "SD")]
    totals = [f"Total Cells ({name.removeprefix('Count_')})" for name in counts]
    lines.append(csv_line(["Well Name", *totals, *names]))
    columns = [mean[name] for name in counts]
    columns += [profile[name] for name in features for profile in (mean, sd)]
    for well in sort_wells(wells):
        row = rows.get(well)
        lines.append(csv_line([well, *("" if row is None else float(column[row]) for column in columns)]))
    return "".join(lines)
