"""All layouts that a synthetic plate can be written in, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hcs_steps.plate.synthetic.harmony import HARMONY, HARMONY_V7
from hcs_steps.plate.synthetic.imagexpress import IMAGEXPRESS, IMAGEXPRESS_DATABASE
from hcs_steps.plate.synthetic.incell import INCELL, INCELL_2000
from hcs_steps.plate.synthetic.model import Layout
from hcs_steps.plate.synthetic.ome_tiff import OME_TIFF
from hcs_steps.plate.synthetic.ome_zarr import OME_ZARR_04, OME_ZARR_05
from hcs_steps.plate.synthetic.patterns import BBBC, CELLOMICS, GEN5
from hcs_steps.plate.synthetic.scanr import SCANR
from hcs_steps.plate.synthetic.yokogawa import CQ1, YOKOGAWA

LAYOUTS: Mapping[str, Layout] = {
    "incell": INCELL,
    "incell-2000": INCELL_2000,
    "scanr": SCANR,
    "imagexpress": IMAGEXPRESS,
    "imagexpress-database": IMAGEXPRESS_DATABASE,
    "harmony": HARMONY,
    "harmony-v7": HARMONY_V7,
    "ome-tiff": OME_TIFF,
    "ome-zarr-0.4": OME_ZARR_04,
    "ome-zarr-0.5": OME_ZARR_05,
    "yokogawa": YOKOGAWA,
    "cq1": CQ1,
    "cellomics": CELLOMICS,
    "gen5": GEN5,
    "bbbc": BBBC,
}
