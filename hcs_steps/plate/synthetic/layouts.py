"""All layouts that a synthetic plate can be written in, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hcs_steps.plate.synthetic.imagexpress import IMAGEXPRESS
from hcs_steps.plate.synthetic.model import Layout

LAYOUTS: Mapping[str, Layout] = {
    "imagexpress": IMAGEXPRESS,
}
