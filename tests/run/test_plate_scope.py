"""A plate-scope step runs again when what it read of the plate is no longer what is there."""

from __future__ import annotations

import re

import numpy as np

from hcs_steps.functions import apply_flatfield, estimate_flatfield
from hcs_steps.pipeline import FunctionStep

PROFILE = (
    "{Background: {Character: NonFlat, Mean: 300, Profile: {Coefficients: [[1.0], [0.0, 0.0], [-0.9, 0.0, -0.9]], "
    "Dims: [96, 96], Origin: [47.5, 47.5], Scale: [0.01, 0.01], Type: Polynomial}}, Channel: 1, "
    "ChannelName: DAPI, Version: synthetic}"
)


def test_a_new_profile_of_the_microscope_corrects_every_image_anew(run_steps):
    steps = [
        FunctionStep((estimate_flatfield, {"method": "vendor"}), name="flat", scope="plate"),
        FunctionStep(apply_flatfield, name="corrected"),
    ]
    first = run_steps(steps, layout="harmony", shape=(96, 96))
    before, ended = first.image("corrected", "A01", 1, 1, 1, 1), first.ended("flat", "plate")
    same = first.again()
    assert same.ended("flat", "plate") == ended
    index = first.folder / "plate" / "Images" / "Index.idx.xml"
    text = index.read_text()
    changed = re.sub(r"\{Background: \{Character: Flat\}, Channel: 1, [^<]*", PROFILE, text)
    assert changed != text
    index.write_text(changed)
    second = first.again()
    assert second.ended("flat", "plate") != ended
    assert not np.array_equal(before, second.image("corrected", "A01", 1, 1, 1, 1))
