"""The image functions of a pipeline. Importing this package imports none of them; a name is loaded when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.functions.background import (
        tophat,
    )
    from hcs_steps.functions.composite import (
        create_composite,
        rgb_composite,
    )
    from hcs_steps.functions.count import (
        count_cells_single_channel,
    )
    from hcs_steps.functions.declare import (
        spec_of,
        step_function,
    )
    from hcs_steps.functions.filters import (
        gaussian,
        median,
    )
    from hcs_steps.functions.geometry import (
        crop,
        rescale,
    )
    from hcs_steps.functions.measure import (
        measure_objects,
    )
    from hcs_steps.functions.neurites import (
        skan_axon_skeletonize_and_analyze,
    )
    from hcs_steps.functions.normalize import (
        stack_percentile_normalize,
    )
    from hcs_steps.functions.sholl import (
        sholl,
    )

__all__ = [
    "STEP_FUNCTIONS",
    "count_cells_single_channel",
    "create_composite",
    "crop",
    "gaussian",
    "measure_objects",
    "median",
    "rescale",
    "rgb_composite",
    "sholl",
    "skan_axon_skeletonize_and_analyze",
    "spec_of",
    "stack_percentile_normalize",
    "step_function",
    "tophat",
]

STEP_FUNCTIONS = {
    "hcs_steps.functions.background": ["tophat"],
    "hcs_steps.functions.composite": ["create_composite"],
    "hcs_steps.functions.count": ["count_cells_single_channel"],
    "hcs_steps.functions.filters": ["gaussian", "median"],
    "hcs_steps.functions.geometry": ["crop", "rescale"],
    "hcs_steps.functions.measure": ["measure_objects"],
    "hcs_steps.functions.neurites": ["skan_axon_skeletonize_and_analyze"],
    "hcs_steps.functions.normalize": ["stack_percentile_normalize"],
    "hcs_steps.functions.sholl": ["sholl"],
}
"""Module -> its step functions; a pipeline file names them as they are. A new function is one more name here."""

_TOOLS = {
    "hcs_steps.functions.composite": ["rgb_composite"],
    "hcs_steps.functions.declare": ["spec_of", "step_function"],
}

__getattr__ = lazy_names(__name__, STEP_FUNCTIONS, _TOOLS)
