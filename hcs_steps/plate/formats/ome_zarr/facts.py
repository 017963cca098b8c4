"""What is told of an OME-Zarr plate beside its planes: versions, acquisitions, display settings, other groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from hcs_steps.plate.formats.ome_zarr.fields import PlateFields
from hcs_steps.plate.formats.ome_zarr.image import Numbers, ZarrImage
from hcs_steps.plate.formats.ome_zarr.store import ZARR_3, ZarrStore


def store_facts(
    store: ZarrStore, plate: PlateFields, images: Mapping[str, ZarrImage], numbers: Mapping[str, Numbers]
) -> dict[str, str]:
    """What is told of a plate beside its planes: the entries of `Inventory.metadata`."""
    index = plate.index
    inside: dict[str, Counter[str]] = {"labels": Counter(), "tables": Counter(), "other_groups": Counter()}
    for folder, image in images.items():
        for kind in ("labels", "tables"):
            inside[kind].update(store.below.get(f"{folder}/{kind}", ()))
        levels = {level.partition("/")[0] for level in image.metadata.levels}
        inside["other_groups"].update(store.below.get(folder, frozenset()) - levels - {"labels", "tables"})
    colors: dict[int, str] = {}
    windows: dict[int, str] = {}
    for folder, image in images.items():
        for number, channel in zip(numbers[folder].channels, image.metadata.channels, strict=False):
            colors.setdefault(number, channel.color)
            windows.setdefault(number, channel.window)
    sites: defaultdict[int, set[int]] = defaultdict(set)
    for field in plate.fields:
        if field.acquisition is not None:
            sites[field.acquisition].add(field.site)
    facts = {
        "ngff_version": index.version,
        "zarr_format": "3" if store.inside(ZARR_3) in store.files else "2",
        "plate_name": index.name,
        "acquisitions": "; ".join(
            f"{number} {index.acquisitions.get(number, '')}".strip() + f" (sites {some(sorted(own))})"
            for number, own in sorted(sites.items())
        ),
        "site_names": _pairs(plate.named),
        "channel_colors": _pairs(colors),
        "channel_windows": _pairs(windows),
        "resolution_levels": str(max((len(image.metadata.levels) for image in images.values()), default=0)),
        **{kind: _counted(names) for kind, names in inside.items()},
    }
    return {key: _printable(value) for key, value in facts.items() if value}


def _pairs(values: Mapping[int, str]) -> str:
    return ", ".join(f"{number} = {value}" for number, value in sorted(values.items()) if value)


def _counted(names: Counter[str]) -> str:
    return some([f"{name} (in {count} images)" for name, count in sorted(names.items())])


def some(items: Collection[object], most: int = 10) -> str:
    """The first of some items, and how many more there are."""
    shown = ", ".join(str(item) for item, _ in zip(items, range(most), strict=False))
    return shown + (f" and {len(items) - most} more" if len(items) > most else "")


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
