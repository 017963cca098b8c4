"""One table of a field from the columns of its sets of objects: relations, joined rows and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hcs_steps.functions.measuring.fields import Field
from hcs_steps.functions.measuring.regions import Floats, Integers, Regions
from hcs_steps.functions.measuring.relate import Rows, children_per_parent, largest_overlap, same_number

Columns = dict[str, NDArray[Any]]

PRIMARY_ORDER = ("Nuclei", "Cells", "Cytoplasm")


def _relations(sets: Mapping[str, Regions], spots: Regions | None) -> dict[str, Columns]:
    """Columns of parents and children of each set of objects."""
    columns: dict[str, Columns] = {key: {} for key in sets}
    own = [key for key in sets if key not in PRIMARY_ORDER]
    pairs = [("Nuclei", "Cells"), ("Cytoplasm", "Cells")]
    pairs += [(key, parent) for key in own for parent in PRIMARY_ORDER]
    for child, parent in pairs:
        if child in sets and parent in sets:
            found = largest_overlap(sets[child], sets[parent])
            numbers = np.append(sets[parent].numbers, 0)[found]
            columns[child][f"Parent_{parent}"] = numbers
            columns[parent][f"Children_{child}_Count"] = _count(found, sets[parent])
    if spots is not None:
        for key, regions in sets.items():
            columns[key]["Children_Spots_Count"] = _count(largest_overlap(spots, regions), regions)
    return columns


def _count(parent: Integers, parents: Regions) -> Floats:
    return children_per_parent(parent, parents.count).astype(np.float64)


def _rows(sets: Mapping[str, Regions]) -> Rows:
    """The joined rows of a field.

    The first set leads. Cells, and any other set, are joined to it by the largest overlap with each leading object;
    a cytoplasm is joined to its cell like that, or, without cells, to the nucleus of the same number, which it
    does not overlap.
    """
    rows = Rows()
    for key, regions in sets.items():
        before = list(rows.objects)
        if not before:
            rows.join(key, regions.count)
            continue
        linked = "Cells" if key == "Cytoplasm" and "Cells" in before else before[0]
        if key == "Cytoplasm" and linked == "Nuclei":
            link = same_number(sets[linked], regions)
        else:
            link = largest_overlap(sets[linked], regions)
        rows.join(key, regions.count, linked, link)
    return rows


def field_table(
    field: Field,
    sets: Mapping[str, Regions],
    spots: Regions | None,
    measured: dict[str, dict[str, Floats]],
) -> Columns:
    """The rows of one field: ``plane``, ``ObjectNumber``, then each set's columns with its name before them.

    ``measured`` is emptied, so that the columns are not held twice. ObjectNumber is the label of the leading set's
    object; rows without one count on from its highest label. Where a row has no object of a set, that set's numbers
    are 0 and its measurements NaN.
    """
    rows, relations = _rows(sets), _relations(sets, spots)
    primary = next(iter(sets))
    numbers = np.append(sets[primary].numbers, 0)[rows.objects[primary]]
    extra = numbers == 0
    numbers[extra] = numbers.max(initial=0) + 1 + np.arange(np.count_nonzero(extra))
    table: Columns = {"plane": np.full(rows.count, field.planes[0]), "ObjectNumber": numbers}
    for key, regions in sets.items():
        columns = {"Number_Object_Number": regions.numbers, **relations[key], **measured.pop(key)}
        for feature in list(columns):
            values = columns.pop(feature)
            nothing = 0 if values.dtype.kind == "i" else np.nan
            table[f"{key}_{feature}"] = np.append(values, nothing)[rows.objects[key]]
    return table


def below_one_another(tables: Sequence[Columns]) -> Columns:
    """The rows of all fields; a column that a field does not have, because it lacks a channel, is NaN there."""
    if len(tables) == 1:
        return tables[0]
    counts = [len(table["plane"]) for table in tables]
    kinds = {name: values.dtype for table in tables for name, values in table.items()}
    return {
        name: np.concatenate([
            table[name] if name in table else np.full(count, np.nan)
            for table, count in zip(tables, counts, strict=True)
        ]).astype(kind)
        for name, kind in kinds.items()
    }  # fmt: skip
