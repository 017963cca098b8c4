"""Statistics of a plate: controls, edge effects, dose-response curves and quality flags.

Pure functions of arrays with one value per well, or one row per field. Importing this package imports NumPy only;
SciPy is imported by the first call that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hcs_steps.lazy import lazy_names

if TYPE_CHECKING:
    from hcs_steps.statistics._flag_rules import (
        FlagLimits,
    )
    from hcs_steps.statistics._logistic import (
        logistic,
    )
    from hcs_steps.statistics.compounds import (
        fit_plate,
        molar,
    )
    from hcs_steps.statistics.controls import (
        coefficient_of_variation,
        control_statistics,
        robust_ssmd,
        robust_z_prime,
        signal_to_background,
        ssmd,
        z_prime,
    )
    from hcs_steps.statistics.dose_response import (
        DoseResponse,
        fit_dose_response,
    )
    from hcs_steps.statistics.edges import (
        edge_effects,
        plate_medians,
        wells_for_edges,
    )
    from hcs_steps.statistics.quality import (
        field_flags,
        unchecked_flags,
        well_flags,
    )

__all__ = [
    "DoseResponse",
    "FlagLimits",
    "coefficient_of_variation",
    "control_statistics",
    "edge_effects",
    "field_flags",
    "fit_dose_response",
    "fit_plate",
    "logistic",
    "molar",
    "plate_medians",
    "robust_ssmd",
    "robust_z_prime",
    "signal_to_background",
    "ssmd",
    "unchecked_flags",
    "well_flags",
    "wells_for_edges",
    "z_prime",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hcs_steps.statistics._flag_rules": ["FlagLimits"],
        "hcs_steps.statistics._logistic": ["logistic"],
        "hcs_steps.statistics.compounds": ["fit_plate", "molar"],
        "hcs_steps.statistics.controls": [
            "coefficient_of_variation",
            "control_statistics",
            "robust_ssmd",
            "robust_z_prime",
            "signal_to_background",
            "ssmd",
            "z_prime",
        ],
        "hcs_steps.statistics.dose_response": ["DoseResponse", "fit_dose_response"],
        "hcs_steps.statistics.edges": ["edge_effects", "plate_medians", "wells_for_edges"],
        "hcs_steps.statistics.quality": ["field_flags", "unchecked_flags", "well_flags"],
    },
)
