"""Which format a plate has, judged from its listing alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hcs_steps.errors import ConfigError, PlateError, nearest
from hcs_steps.plate.formats.containers.reader import ContainerReader
from hcs_steps.plate.formats.harmony.reader import HarmonyReader
from hcs_steps.plate.formats.imagexpress.reader import ImageXpressReader
from hcs_steps.plate.formats.incell.reader import InCellReader
from hcs_steps.plate.formats.ome_tiff.reader import OmeTiffReader
from hcs_steps.plate.formats.ome_zarr.reader import OmeZarrReader
from hcs_steps.plate.formats.patterns.named import NAMED_PATTERNS, OWN_SUFFIXES
from hcs_steps.plate.formats.patterns.reader import PatternReader
from hcs_steps.plate.formats.patterns.spec import PatternSpec
from hcs_steps.plate.formats.patterns.time_limit import require_quick
from hcs_steps.plate.formats.scanr.reader import ScanRReader
from hcs_steps.plate.formats.yokogawa.reader import YokogawaReader
from hcs_steps.plate.listing import FileListing
from hcs_steps.plate.reader import Evidence, Reader

MIN_SCORE = 0.5
MIN_LEAD = 0.1
"""By less than this, the best reader's score is no better than the next one's."""

READERS: tuple[Reader, ...] = (
    ImageXpressReader(),
    HarmonyReader(),
    OmeTiffReader(),
    OmeZarrReader(),
    YokogawaReader(),
    YokogawaReader("cq1", numbered_wells=True),
    ContainerReader(),
    InCellReader(),
    ScanRReader(),
    *(PatternReader(name, spec, OWN_SUFFIXES.get(name, ())) for name, spec in NAMED_PATTERNS.items()),
)


def detect(listing: FileListing) -> tuple[tuple[Reader, Evidence], ...]:
    """The readers that fit a listing, best first.

    Raises `PlateError` if none fits at least half of the images, or if the best is no better than the next.
    """
    judged = [(reader, reader.evidence(listing)) for reader in READERS]
    fitting = sorted((pair for pair in judged if pair[1].score >= MIN_SCORE), key=lambda pair: -pair[1].score)
    if not fitting:
        examples = ", ".join(entry.path for entry in (listing.images or listing.files)[:3])
        raise PlateError(
            f"The format of {listing.root} is unknown: {len(listing.images)} TIFF files among "
            f"{len(listing.files)} files, for example {examples}.{_nearly(judged)}{_skipped(listing)}",
            hint=f"Set `format:` ({', '.join(reader.name for reader in READERS)}), or describe file names "
            "with `pattern:`, a regex with groups such as (?P<well>...) and (?P<channel>...).",
        )
    if len(fitting) > 1 and fitting[0][1].score - fitting[1][1].score < MIN_LEAD:
        (first, first_evidence), (second, second_evidence) = fitting[:2]
        raise PlateError(
            f"The format of {listing.root} is ambiguous. {first.name}: {' '.join(first_evidence.sentences)} "
            f"{second.name}: {' '.join(second_evidence.sentences)}",
            hint=f"Set `format: {first.name}` or `format: {second.name}`.",
        )
    return tuple(fitting)


def _nearly(judged: Sequence[tuple[Reader, Evidence]]) -> str:
    """What the best of the readers that do not fit has to say."""
    reader, evidence = max(judged, key=lambda pair: (pair[1].score, bool(pair[1].sentences)))
    return f" Nearest is {reader.name}: {' '.join(evidence.sentences)}" if evidence.sentences else ""


def _skipped(listing: FileListing) -> str:
    """The first of what was not entered or read, which may be where the images are."""
    return "".join(f" {path} was left out: {why}" for path, why in listing.skipped[:1])


def _with_others(fitting: Sequence[tuple[Reader, Evidence]]) -> tuple[Reader, Evidence]:
    """The best reader; its evidence names the others that would fit as well."""
    (reader, evidence), *others = fitting
    more = tuple(f"Fits less: {other.name}, {' '.join(judged.sentences)}" for other, judged in others)
    return reader, Evidence(evidence.score, (*evidence.sentences, *more))


def choose_reader(
    listing: FileListing, plate_format: str, pattern: PatternSpec | Mapping[str, Any] | str | None
) -> tuple[Reader, Evidence]:
    """The reader that the configuration asks for, or the best that fits.

    ``plate_format`` is ``auto``, ``pattern`` or a reader's name; a ``pattern`` alone means format
    ``pattern``.
    """
    if pattern is not None and plate_format in ("auto", "pattern"):
        spec = PatternSpec.from_config(pattern)
        require_quick(spec, listing)
        configured = PatternReader("pattern", spec)
        return configured, Evidence(1.0, ("The configuration gives the file pattern.",))
    if pattern is not None:
        raise ConfigError(
            f"Both `format: {plate_format}` and `pattern` are given.", hint="Leave one of them out."
        )
    if plate_format == "pattern":
        raise ConfigError("`format: pattern` needs a `pattern`.", hint="Add `pattern:` with a `regex`.")
    if plate_format == "auto":
        return _with_others(detect(listing))
    for reader in READERS:
        if reader.name == plate_format:
            judged = reader.evidence(listing)
            return reader, Evidence(judged.score, ("The configuration names the format.", *judged.sentences))
    allowed = ("auto", "pattern", *(reader.name for reader in READERS))
    raise ConfigError(f"Unknown plate format {plate_format!r}.", hint=nearest(plate_format, allowed))
