"""Images in this process only: for stages whose steps hand images on without writing them, and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hcs_steps.storage._unit import SiteImages, missing_plane, split_sites
from hcs_steps.storage.protocol import Image, ImageMeta, PlaneKey, Published, StoreSpec


class MemoryStore:
    """An `ImageStore` that keeps references to the published arrays.

    Nothing is copied, so a publisher must not change an array after publishing it. Readers get read-only
    views, so a step that writes into its input fails instead of changing another step's input.
    """

    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec
        self._sites: dict[tuple[str, int], SiteImages] = {}

    def declare(self) -> None:
        """Nothing is shared, so nothing is created."""

    def publish(
        self,
        well: str,
        images: Mapping[PlaneKey, Image],
        labels: Mapping[str, Mapping[PlaneKey, Image]],
        meta: ImageMeta,
    ) -> list[Published]:
        """Keep the images of whole sites. The list is empty: there are no files."""
        for part in split_sites(self.spec, well, images, labels):
            self._sites[well, part.site] = part
        return []

    def read(self, well: str, key: PlaneKey) -> Image:
        """One plane (Y, X), read-only."""
        part = self._sites.get((well, key[0]))
        if part is None or key not in part.images:
            raise missing_plane(self.spec, well, key, self.keys(well))
        return _read_only(part.images[key])

    def keys(self, well: str) -> Iterable[PlaneKey]:
        """The published planes of a well, in stacking order."""
        return [key for part in self._parts(well) for key in part.images]

    def label_keys(self, well: str) -> dict[str, list[PlaneKey]]:
        """The published label planes of a well by label name, in stacking order."""
        result: dict[str, list[PlaneKey]] = {}
        for part in self._parts(well):
            for name, planes in part.labels.items():
                result.setdefault(name, []).extend(planes)
        return result

    def read_label(self, well: str, name: str, key: PlaneKey) -> Image:
        """One label plane (Y, X), read-only."""
        part = self._sites.get((well, key[0]))
        if part is None or key not in part.labels.get(name, {}):
            raise missing_plane(self.spec, well, key, self.keys(well), f"labels {name!r} of ")
        return _read_only(part.labels[name][key])

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Forget sites. Idempotent."""
        for site in sites:
            self._sites.pop((well, site), None)

    def _parts(self, well: str) -> list[SiteImages]:
        return [self._sites[own] for own in sorted(self._sites) if own[0] == well]


def _read_only(image: Image) -> Image:
    view = image.view()
    view.flags.writeable = False
    return view
