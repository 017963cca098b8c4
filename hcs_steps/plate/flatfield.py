"""The illumination correction that a microscope keeps with a plate, as images, whatever the vendor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import PlateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Fields = tuple[NDArray[np.float32], NDArray[np.float32]]


_FILES = ("shading_files", "dark_files")
_FACTS = ("flatfield_corrected", "flatfield", *_FILES)
"""The inventory's metadata on the correction; those of `_FILES` name images."""


def vendor_flatfield(
    plate: Path, metadata: Mapping[str, str], channel: int, shape: tuple[int, int]
) -> Fields | None:
    """(gain, dark) of a channel, float32 (Y, X) of ``shape``, or None if the plate keeps none for it.

    A corrected image is (image - dark) / gain; the gain has the mean 1, the dark image is in grey values.
    ``metadata`` is the inventory's. Harmony keeps a polynomial per channel (its foreground, else its background
    profile; no dark image), Yokogawa shading and dark images.

    Raises
    ------
    PlateError
        The images are corrected already, the profile cannot be used, or a correction image cannot be read or has
        not the shape of the images.
    """
    if metadata.get("flatfield_corrected") == "yes":
        raise PlateError(
            "The microscope has corrected the illumination of these images already.",
            hint="Leave the correction out of the pipeline, or export the images without it.",
        )
    key = str(channel)
    if "flatfield" in metadata:
        return _from_profile(json.loads(metadata["flatfield"]).get(key, {}), shape)
    shading = json.loads(metadata.get("shading_files", "{}")).get(key)
    if not shading:
        return None
    dark = json.loads(metadata.get("dark_files", "{}")).get(key)
    return _from_images(plate, shading, dark, shape)


def correction_state(plate: Path, metadata: Mapping[str, str]) -> str:
    """What `vendor_flatfield` reads of a plate, as text that changes whenever its result may: the facts, and the
    path, size and time of change of the images that they name.
    """
    known = {name: metadata[name] for name in _FACTS if name in metadata}
    named = {path for name in _FILES for path in json.loads(known.get(name, "{}")).values() if path}
    return json.dumps([known, [_file_facts(plate, path) for path in sorted(named)]], sort_keys=True)


def _file_facts(plate: Path, path: str) -> tuple[str, int, int]:
    try:
        facts = (plate / path).stat()
    except OSError:  # whoever reads the image says so
        return path, -1, -1
    return path, facts.st_size, facts.st_mtime_ns


def _from_profile(profile: Mapping[str, Any], shape: tuple[int, int]) -> Fields | None:
    import numpy as np

    from hcs_steps.plate.formats.harmony.flatfield import flatfield_image

    part = profile.get("foreground") or profile.get("background")
    if not part:
        return None
    gain = flatfield_image(part, shape).astype(np.float32)
    return gain, np.zeros_like(gain)


def _from_images(plate: Path, shading: str, dark: str | None, shape: tuple[int, int]) -> Fields | None:
    import numpy as np

    offset = _image(plate, dark, shape) if dark else np.zeros(shape, np.float32)
    gain = _image(plate, shading, shape) - offset
    if not gain.min() > 0:
        raise PlateError(
            f"The shading image {shading} is not brighter than the dark image everywhere.",
            hint="Estimate the illumination from the images instead.",
        )
    gain /= gain.mean(dtype=np.float64)
    return gain, offset


def _image(plate: Path, path: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    import numpy as np

    from hcs_steps.plate.inventory import Plane
    from hcs_steps.plate.pixels import read_plane

    image = read_plane(plate, Plane("A01", 1, 1, 1, 1, path, 0)).astype(np.float32)
    if image.shape != shape:
        raise PlateError(
            f"The correction image {path} is {image.shape}, the plate's images are {shape}.",
            hint="Estimate the illumination from the images instead.",
        )
    return image
