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

    def read(self, well: str, key: PlaneKey, labels: str | None = None) -> Image:
        """One plane (Y, X) or its labels, read-only."""
        part = self._sites.get((well, key[0]))
        planes = {} if part is None else part.planes(labels)
        if key not in planes:
            raise missing_plane(self.spec, well, key, self.keys(well, labels), labels)
        view = planes[key].view()
        view.flags.writeable = False
        return view

    def keys(self, well: str, labels: str | None = None) -> Iterable[PlaneKey]:
        """The published planes of a well (with labels of that name), in stacking order."""
        sites = [self._sites[own] for own in sorted(self._sites) if own[0] == well]
        return [key for part in sites for key in part.planes(labels)]

    def remove(self, well: str, sites: Sequence[int]) -> None:
        """Forget sites. Idempotent."""
        for site in sites:
            self._sites.pop((well, site), None)
