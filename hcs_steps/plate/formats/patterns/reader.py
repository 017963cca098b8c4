"""Reader of plates by the naming of their files, with what the images' own descriptions say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hcs_steps.errors import PlateError
from hcs_steps.plate.assemble import build_inventory
from hcs_steps.plate.findings import Findings, Found, collect
from hcs_steps.plate.formats.patterns.pages import expand_pages
from hcs_steps.plate.formats.patterns.planes import number_planes, plain
from hcs_steps.plate.formats.patterns.spec import MAX_PATH, PatternSpec
from hcs_steps.plate.inventory import Inventory, PlaneKey, Problem
from hcs_steps.plate.listing import FileEntry, FileListing
from hcs_steps.plate.reader import Evidence, ReadOptions

_Named = tuple[FileEntry, Mapping[str, str]]


@dataclass(frozen=True)
class PatternReader:
    """A format that is nothing but a naming.

    ``own_suffixes`` are those of image files in the vendor's own format, in lower case, which cannot be read
    and of which a folder without TIFF files may consist.
    """

    name: str
    spec: PatternSpec
    own_suffixes: tuple[str, ...] = ()

    def evidence(self, listing: FileListing) -> Evidence:
        """The share of TIFF names that fit the naming, or that it expects beside the planes."""
        images = listing.images
        if not any(self.spec.fits(entry) or self.spec.excludes(entry) for entry in listing.image_sample):
            return Evidence(0.0, self._own_files(listing))  # far fewer than half of all names can fit
        beside = sum(map(self.spec.excludes, images)) if self.spec.exclude else 0
        fitting = [
            entry for entry in images if self.spec.fits(entry) and not (beside and self.spec.excludes(entry))
        ]
        if not fitting:
            return Evidence(0.0, self._own_files(listing))
        example = fitting[0].path if "/" in self.spec.regex else fitting[0].name
        sentence = f"{len(fitting)} of {len(images)} TIFF names are like {example}."
        more = (f"{beside} others are known to be no planes.",) if beside else ()
        return Evidence((len(fitting) + beside) / len(images), (sentence, *more))

    def _own_files(self, listing: FileListing) -> tuple[str, ...]:
        files = listing.with_suffix(*self.own_suffixes) if self.own_suffixes else ()
        if not files:
            return ()
        return (
            f"Files in the instrument's own image format ({len(files)}, such as {files[0].path}) cannot be read "
            "here: export them as TIFF, or convert them with Bio-Formats, keeping their names.",
        )

    def read(self, listing: FileListing, options: ReadOptions, evidence: Evidence) -> Inventory:
        """Read the plate; `PlateError` if no file fits, or if files of several plates lie together."""
        named, problems = self._sorted_out(listing)
        if not named:
            examples = ", ".join(entry.path for entry in listing.images[:3]) or "none"
            raise PlateError(
                f"None of the {len(listing.images)} TIFF files in {listing.root} fits {self.spec.regex!r}.",
                hint=" ".join((f"The first names are: {examples}.", *self._own_files(listing))),
            )
        if self.spec.pages:
            planes, damaged = expand_pages(listing.root, named, self.spec.pages)
            problems += damaged
        else:
            planes = [(tokens, Found(entry)) for entry, tokens in named]
        numbered = number_planes(self.spec, [tokens for tokens, _ in planes])
        parsed: list[tuple[PlaneKey, Found]] = []
        for key, (_, found), seconds in zip(numbered.keys, planes, numbered.seconds, strict=True):
            if isinstance(key, str):
                problems.append(Problem("unparsed", found.file.path, key))
            else:
                parsed.append((key, found._replace(time_s=seconds) if seconds == seconds else found))
        kept, duplicates = collect(parsed)
        plates = sorted({tokens["plate"] for _, tokens in named if "plate" in tokens})
        if duplicates and len(plates) > 1:
            shown = ", ".join(repr(plate) for plate in plates[:5])
            raise PlateError(
                f"{listing.root} seems to hold {len(plates)} plates ({shown}) with the same wells.",
                hint="Give the folder of one plate, and list the plates one by one.",
            )
        findings = Findings(
            kept,
            problems=(*duplicates, *dict.fromkeys(problems)),
            disagreements=(
                *((f"The names hold {len(plates)} different plate names.",) if len(plates) > 1 else ()),
                *self._unused_names(planes),
            ),
            channel_names=numbered.channel_names,
            site_cells=numbered.site_cells,
            grid_dimensions=numbered.grid_dimensions,
            metadata={"pattern": self.spec.regex},
            pixel_size_um=self.spec.pixel_size_um,
        )
        return build_inventory(listing, self.name, findings, options, evidence)

    def _sorted_out(self, listing: FileListing) -> tuple[list[_Named], list[Problem]]:
        """The files that are planes with what their names say, and a problem for each of the others."""
        named: list[_Named] = []
        problems: list[Problem] = []
        for entry in listing.images:
            if self.spec.excludes(entry):
                problems.append(Problem("excluded", entry.path, f"The name holds {self.spec.exclude!r}."))
                continue
            tokens = self.spec.tokens(entry)
            if tokens is not None:
                named.append((entry, tokens))
            elif len(entry.path) > MAX_PATH:
                why = f"The path has more than {MAX_PATH} characters."
                problems.append(Problem("unparsed", entry.path, why))
            else:
                problems.append(Problem("unparsed", entry.path, "The name does not fit the file pattern."))
        return named, problems

    def _unused_names(self, planes: Sequence[tuple[Mapping[str, str], Found]]) -> tuple[str, ...]:
        """A sentence on entries of the channel map that no file has: perhaps misspelt, perhaps not taken."""
        if not self.spec.channels:
            return ()
        used = {
            plain(name.get(component, "1")) for name, _ in planes for component in ("channel", "channel_name")
        }
        unused = [token for token in self.spec.channels if plain(token) not in used]
        if not unused:
            return ()
        return (f"The pattern's channel map names {', '.join(unused)}, which no file has.",)
