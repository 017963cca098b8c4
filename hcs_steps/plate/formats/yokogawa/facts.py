"""What is kept of a Yokogawa plate's metadata beside its planes.

Where known: ``index`` (its path), ``plate_id``, ``plate_type``, ``title``, ``operator``, ``begin_time``,
``end_time``, ``instrument``, ``release``; ``objective``, ``magnification``, ``exposure_ms``, ``binning``, ``filter``
(one value, or one per channel: ``1: 100, 2: 250``); and, as JSON objects from channel to path or number,
``shading_files``, ``dark_files`` and ``camera_numbers``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from hcs_steps.plate.formats.yokogawa.detail import ChannelDetail, MeasurementDetail
from hcs_steps.plate.formats.yokogawa.index import PlaneIndex
from hcs_steps.plate.formats.yokogawa.names import dark_camera
from hcs_steps.plate.formats.yokogawa.numbers import ChannelSource
from hcs_steps.plate.listing import FileListing

_SETTINGS = {
    "objective": "Objective",
    "magnification": "Magnification",
    "exposure_ms": "ExposureTime",
    "binning": "Binning",
    "filter": "Acquisition",
}


def plate_facts(
    listing: FileListing,
    index: PlaneIndex,
    detail: MeasurementDetail,
    sources: Mapping[int, ChannelSource],
    present: Collection[int],
) -> dict[str, str]:
    """The facts of a plate whose channels, those ``present``, are what ``sources`` say."""
    channels = {
        number: own
        for number, source in sorted(sources.items())
        if number in present and (own := detail.channels.get(source.channel))
    }
    facts = {"index": index.path, **detail.facts}
    for name, key in _SETTINGS.items():
        facts[name] = _one_or_each({number: own.settings.get(key, "") for number, own in channels.items()})
    dark = {
        dark_camera(entry.name): entry.path for entry in reversed(listing.images) if dark_camera(entry.name)
    }
    facts["shading_files"] = _json({number: _shading(listing, own) for number, own in channels.items()})
    facts["dark_files"] = _json({number: dark.get(own.camera, "") for number, own in channels.items()})
    facts["camera_numbers"] = _json({number: own.camera for number, own in channels.items()})
    return {name: text for name, text in facts.items() if text}


def _shading(listing: FileListing, channel: ChannelDetail) -> str:
    """The path of a channel's shading image, empty if the plate does not have it."""
    files = listing.by_name.get(channel.shading.lower(), ())
    return files[0].path if files else ""


def _one_or_each(values: Mapping[int, str]) -> str:
    """The one value that all channels have, or every channel's."""
    known = {number: value for number, value in values.items() if value}
    if len(set(known.values())) == 1:
        return next(iter(known.values()))
    return ", ".join(f"{number}: {value}" for number, value in known.items())


def _json(values: Mapping[int, str | int]) -> str:
    known = {str(number): value for number, value in values.items() if value}
    return json.dumps(known, ensure_ascii=False) if known else ""
