r"""Namings that are recognised without configuration; a further microscope is a further entry.

An entry must not fit the names of any other format, and must be fast on any text: no repetition inside a
repetition, and no two neighbouring repetitions that could share a character.

Where the facts are from:

cellomics
    Cellomics' "ArrayScan VTI HCS Reader: User's Guide Addendum", chapter 5: ``<plate>_<well>f<field>d<dye>``
    and, for kinetic plates, ``<plate>i3t<time><well>f<field>d<dye>``; the plate's name is optional, fields
    and dyes count from 0, times from 1. CellInsight instruments use it as well, and so do the sets BBBC001,
    BBBC017 and BBBC018. Names with ``o`` in the place of ``d`` (Bio-Formats' CellomicsReader knows both) are
    overlays of the objects that the instrument's software found.
evos
    "EVOS M7000 Imaging System User Guide" (MAN0018326), file naming convention:
    ``<name>_<R, D or M>_p<time>_z<plane>_<grid>_<well>f<field>d<channel>``. R is raw, D as displayed, M
    merged; real names also have no z, or TR for stitched raw images, and count z from 0.
gen5, gen5-processed, gen5-old
    The naming of BioTek's Gen5 as in bioformats2raw's documentation and the real names in its tests:
    ``<well>_<read step>_<channel>_<site>[Z<plane>]_<name>_<time>``, where confocal Cytations add
    ``ROI<number>`` to the well, and planes count from 0. A name in brackets, ``Tsf[DAPI]``,
    ``Stitched[DAPI 377,447]``, is an image that Gen5 computed from others, so such images are left out
    unless there are no others, or the format is ``gen5-processed``. Older versions write
    ``<well>_<site>[Z<plane>]_<name>_<channel>_<time>_<read step>``.
bbbc
    Sets of the Broad Bioimage Benchmark Collection, BBBC013 to BBBC016: ``Channel2-14-B-02.tif``, where 14
    counts the images.
leica-matrix
    LAS AF and LAS X MatrixScreener. U and V are the well's column and row, and X and Y the field's, from 0,
    as in the code of the leicaimage and matrixscreener packages, and J the job of the scan. E and O are
    documented nowhere, so images that differ in them are kept apart as channels.
incucyte, incucyte-elapsed, incucyte-archive
    Sartorius Incucyte. Exported images, ``<name>_<well>_<site>_2019y01m09d_12h00m.tif`` (as the IncuCyte
    extractor of the MIA package parses them) or with the time since the start, ``00d12h00m``; the name, which
    the user chooses in the export, is all that tells channels apart. The archive's own folders are
    ``<year and month>/<day>/<hour and minute>/<vessel>/A1-1-Ph.tif``.
bd-pathway
    ``Well A01/DAPI - n000000.tif``, as in Bio-Formats' BDReader. Plates with more than one image per
    channel are not recognised: names do not tell whether these are z planes or timepoints.
squid
    Cephla Squid: ``<time>/<well>_<site>_<z>_<channel>.tiff``, all from 0.
acquifer
    ACQUIFER Imaging Machine: ``-A001--PO01--LO001--CO6--SL001--PX32500--...tif``, with the position in the
    well, the loop in time, the channel and the z slice, as in the makers' own examples.
"""

from __future__ import annotations

from collections.abc import Mapping

from hcs_steps.plate.formats.patterns.check import ELAPSED
from hcs_steps.plate.formats.patterns.spec import PatternSpec

_TIF = r"\.(?i:tiff?)"
_WELL = r"(?P<well>[A-Z]{1,2}\d{1,2})"
_GEN5 = (
    r"(?:ROI(?P<region>\d+))?_(?P<step>-?\d+)_(?P<channel>\d+)_(?P<site>\d+)(?:Z(?P<z>\d+))?_"
    r"(?P<channel_name>{name})_(?P<time>\d{{3,}})"
)
_EVOS = r"_p(?P<time>\d+)(?:_z(?P<z>\d+))?_\d+_(?P<well>[A-Z]\d{2})f(?P<site>\d{2,3})d(?P<channel>\d)"
_INCUCYTE = r"(?P<channel>.+)_(?P<well>[A-P]\d{1,2})_(?P<site>\d{1,3})_"

NAMED_PATTERNS: Mapping[str, PatternSpec] = {
    "cellomics": PatternSpec(
        # Not EVOS names, which end alike.
        r"(?!.*_[A-Z]{1,2}_p\d+_(?:z\d+_)?\d+_[A-Z]\d{2}f)(?:(?P<plate>.*?)(?:_|i3t(?P<time>\d{3})))?"
        rf"(?P<well>[A-Z]{{1,2}}\d{{2}})f(?P<site>\d{{2,3}})d(?P<channel>\d{{1,2}}){_TIF}",
        exclude=rf"[A-Z]\d{{2}}f\d{{2,3}}o\d{{1,2}}{_TIF}$",
    ),
    "evos": PatternSpec(
        rf"(?P<plate>.+)_(?P<step>T?R){_EVOS}{_TIF}",
        constants={"first_z": 0},
        exclude=rf"_T?[DM]_p\d+_(?:z\d+_)?\d+_[A-Z]\d{{2}}f\d{{2,3}}d\d{_TIF}$",
    ),
    "gen5": PatternSpec(
        _WELL + _GEN5.format(name=r"(?!\d+_)[^\[\]]+") + _TIF,
        constants={"first_z": 0},
        exclude=rf"^[A-Z]{{1,2}}\d{{1,2}}(?:ROI\d+)?_-?\d+_\d+_\d+(?:Z\d+)?_[^\[]+\[.+\]_\d{{3,}}{_TIF}$",
    ),
    "gen5-processed": PatternSpec(
        _WELL + _GEN5.format(name=r"[^\[]+\[.+\]") + _TIF, constants={"first_z": 0}
    ),
    "gen5-old": PatternSpec(
        rf"{_WELL}_(?P<site>\d+)(?:Z(?P<z>\d+))?_(?P<channel_name>(?!-?\d+_).+)_(?P<channel>\d+)_"
        rf"(?P<time>\d{{3,}})_(?P<step>-?\d*){_TIF}",
        constants={"first_z": 0},
    ),
    "bbbc": PatternSpec(rf"Channel(?P<channel>\d+)-\d+-(?P<row>[A-Z]{{1,2}})-(?P<column>\d{{2}}){_TIF}"),
    "leica-matrix": PatternSpec(
        r"(?:image|I)--L\d{2,4}--S(?P<plate>\d{2,4})--U(?P<column>\d{2,4})--V(?P<row>\d{2,4})"
        r"--(?P<step>J\d{2,4}--E\d{2,4}--O\d{2,4})--X(?P<site_column>\d{2,4})--Y(?P<site_row>\d{2,4})"
        rf"--T(?P<time>\d{{2,4}})--Z(?P<z>\d{{2,4}})--C(?P<channel>\d{{2,4}})(?:\.ome)?{_TIF}",
        constants={"first_well": 0, "first_z": 0},
    ),
    "incucyte": PatternSpec(
        rf"{_INCUCYTE}(?P<datetime>\d{{4}}y\d{{2}}m\d{{2}}d_\d{{2}}h\d{{2}}m){_TIF}",
        constants={"datetime_format": "%Yy%mm%dd_%Hh%Mm"},
    ),
    "incucyte-elapsed": PatternSpec(
        rf"{_INCUCYTE}(?P<datetime>\d{{2,3}}d\d{{2}}h\d{{2}}m){_TIF}", constants={"datetime_format": ELAPSED}
    ),
    "incucyte-archive": PatternSpec(
        r"(?:.*/)?(?P<datetime>\d{4}/\d{2}/\d{4})/(?P<plate>\d+)/"
        rf"(?P<well>[A-P]\d{{1,2}})-(?P<site>\d{{1,3}})-(?P<channel>C\d|Ph){_TIF}",
        constants={"datetime_format": "%y%m/%d/%H%M"},
    ),
    "bd-pathway": PatternSpec(rf"(?:.*/)?Well (?P<well>[A-P]\d{{2}})/(?P<channel>[^/]+) - n000000{_TIF}"),
    "squid": PatternSpec(
        rf"(?:.*/)?(?P<time>\d+)/{_WELL}_(?P<site>\d+)_(?P<z>\d+)_(?P<channel>(?:Fluorescence|BF)_[^/]+){_TIF}",
        constants={"first_z": 0},
    ),
    "acquifer": PatternSpec(
        r"(?:WE\d+--)?-(?P<well>[A-P]\d{3})--PO(?P<site>\d{2})--LO(?P<time>\d{3})--CO(?P<channel>\d)"
        rf"--SL(?P<z>\d{{3}})--PX\d+--.*{_TIF}"
    ),
}
"""Name, as ``format:`` takes it -> naming."""

OWN_SUFFIXES: Mapping[str, tuple[str, ...]] = {"cellomics": (".c01", ".dib")}
"""Name -> suffixes of the vendor's own image files, which some plates consist of and which cannot be read."""
