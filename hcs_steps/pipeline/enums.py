"""The enumerations of a pipeline. Every place that takes one also takes its string value."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from hcs_steps.errors import PipelineError, nearest


class VariableComponents(StrEnum):
    """Components that a step stacks on axis 0, in the order of their definition here."""

    SITE = "site"
    CHANNEL = "channel"
    Z_INDEX = "z_index"
    TIMEPOINT = "timepoint"


class GroupBy(StrEnum):
    """The component whose value selects the branch of a dict pattern."""

    CHANNEL = "channel"
    SITE = "site"
    Z_INDEX = "z_index"
    TIMEPOINT = "timepoint"
    WELL = "well"
    NONE = "none"


class InputSource(StrEnum):
    """Where a step reads its images: the step before it, or the original pixels."""

    PREVIOUS_STEP = "previous_step"
    PIPELINE_START = "pipeline_start"


class Scope(StrEnum):
    """``unit``: one call per stack of one unit. ``plate``: one call, after all units."""

    UNIT = "unit"
    PLATE = "plate"


class Unlisted(StrEnum):
    """What happens to the planes that a dict pattern does not list."""

    DROP = "drop"
    PASS = "pass"


class Backend(StrEnum):
    """Where images go between steps."""

    MEMORY = "memory"
    DISK = "disk"
    ZARR = "zarr"


class MaterializationBackend(StrEnum):
    """Where the images that outlive the run go."""

    DISK = "disk"
    ZARR = "zarr"


class ZarrCompressor(StrEnum):
    """Compressor of image chunks (``lz4`` is Blosc-LZ4 with byte shuffle)."""

    LZ4 = "lz4"
    ZSTD = "zstd"
    GZIP = "gzip"
    NONE = "none"


class ZarrChunkStrategy(StrEnum):
    """``adaptive``: chunks of 1 to 4 MB; ``plane``: one chunk per plane; ``well``: one per site's whole
    image.
    """

    ADAPTIVE = "adaptive"
    PLANE = "plane"
    WELL = "well"


class NgffVersion(StrEnum):
    """Version of the OME-Zarr images: ``0.5`` is Zarr v3 with few large files, ``0.4`` Zarr v2 for older tools."""

    V0_5 = "0.5"
    V0_4 = "0.4"


class ZarrCodecPipeline(StrEnum):
    """What reads chunks back: Zarr itself, or the faster package ``zarrs``."""

    ZARR = "zarr"
    ZARRS = "zarrs"


class TiffFiles(StrEnum):
    """``plane``: a file for each plane; ``well``: a file with all planes that a job makes of a well."""

    PLANE = "plane"
    WELL = "well"


class TiffMetadata(StrEnum):
    """``ome``: OME-TIFF; ``imagej``: hyperstacks that ImageJ opens without a plug-in."""

    OME = "ome"
    IMAGEJ = "imagej"


class Aggregate(StrEnum):
    """How the objects of a well become one number; ``mad`` is the median absolute deviation."""

    MEDIAN = "median"
    MEAN = "mean"
    MAD = "mad"


class RoiFormat(StrEnum):
    """Files with the outlines of labelled objects: ROI Manager's ``.zip``, or GeoJSON as QuPath reads it."""

    IMAGEJ = "imagej"
    GEOJSON = "geojson"


class MissingPolicy(StrEnum):
    """What a missing plane does to its unit: the unit fails, the site is left out, or the plane reads as
    zeros.
    """

    FAIL_UNIT = "fail_unit"
    SKIP_SITE = "skip_site"
    BLANK = "blank"


class GpuPolicy(StrEnum):
    """Whether stages with functions that can use a GPU ask for one.

    ``auto``: if the machine that compiles the plan has one; where a GPU's memory does not suffice, the CPU goes on.
    ``always``: also if it has none, because jobs run elsewhere; where a GPU's memory does not suffice, the unit fails.
    ``never``: everything is done by CPUs.
    """

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


E = TypeVar("E", bound=StrEnum)


def member(kind: type[E], value: Any, where: str) -> E:
    """``value`` (a member, or its string in any case) as a member of ``kind``; `PipelineError` otherwise."""
    text = str(getattr(value, "value", value)).lower()
    try:
        return kind(text)
    except ValueError:
        raise PipelineError(
            f"{where}: {value!r} is not a {kind.__name__}.", hint=nearest(text, kind)
        ) from None


def members(kind: type[E], values: Any, where: str) -> tuple[E, ...]:
    """One value or several, as members of ``kind`` in their order of definition, each once."""
    listed: Iterable[Any] = values if isinstance(values, list | tuple | set | frozenset) else [values]
    chosen = {member(kind, value, where) for value in listed}
    return tuple(item for item in kind if item in chosen)
