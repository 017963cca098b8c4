"""Synthetic plates with known truth, in the layouts of the microscopes, for tests, examples and benchmarks."""

from hcs_steps.plate.synthetic.layouts import LAYOUTS
from hcs_steps.plate.synthetic.make import make_plate
from hcs_steps.plate.synthetic.model import Layout, SyntheticPlate

__all__ = ["LAYOUTS", "Layout", "SyntheticPlate", "make_plate"]
