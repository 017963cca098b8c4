"""The data that the page's script draws from, as JSON that no text of a plate can break out of."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hcs_steps.report.model import ReportData
from hcs_steps.report.plots import colour_scale

if TYPE_CHECKING:
    from hcs_steps.report._wells import Feature, Floats
    from hcs_steps.report.pictures import PlatePictures

DIGITS, SCORE_DIGITS = 6, 4
"""Significant digits of values and of z-scores in the page."""


def plate_json(data: ReportData) -> str:
    """The wells and the values of all features; ``null`` where there is none."""
    wells = [
        {
            "name": well.name,
            "row": well.row,
            "column": well.column,
            "status": well.status,
            "error": well.error,
            "role": well.role,
            "objects": well.objects,
            "flags": well.flags,
            "map": well.plate_map,
        }
        for well in data.wells
    ]
    scales = {"values": colour_scale("viridis"), "scores": colour_scale("PuOr_r")}
    parts = {
        "rows": _json(data.rows),
        "columns": _json(data.columns),
        "mapColumns": _json(data.map_columns),
        "readouts": _json(data.readouts),
        "first": _json(first_feature(data)),
        "scales": _json(scales),
        "wells": _json(wells),
        "features": f"[{','.join(_feature(feature) for feature in data.features)}]",
    }
    return "{" + ",\n".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def first_feature(data: ReportData) -> int:
    """Index of the feature that the page opens with: the first readout that there is, else the first."""
    names = {feature.name: index for index, feature in reversed(list(enumerate(data.features)))}
    return next((names[name] for name in data.readouts if name in names), 0)


def pictures_json(pictures: PlatePictures | None) -> str:
    """The larger picture of each well, with its contours, as data addresses."""
    if pictures is None:
        return "{}"
    return _json(
        {
            well: {
                "image": data_address(picture.image, picture.mime),
                "contours": data_address(picture.contours, "image/png") if picture.contours else "",
                "width": picture.width,
                "height": picture.height,
                "caption": picture.caption,
            }
            for well, picture in pictures.wells.items()
        }
    )


def data_address(content: bytes, mime: str) -> str:
    """A picture as an address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def _feature(feature: Feature) -> str:
    head = _json({"group": feature.group, "name": feature.name, "unit": feature.unit})
    scores = "null" if feature.normalized is None else _numbers(feature.normalized, SCORE_DIGITS)
    return f'{head[:-1]},"values":{_numbers(feature.values, DIGITS)},"scores":{scores}}}'


def _numbers(values: Floats, digits: int) -> str:
    return f"[{','.join(_number_texts(values.tolist(), digits))}]"


def _number_texts(values: Iterable[float], digits: int) -> Iterable[str]:
    pattern = f"%.{digits}g"
    return (pattern % value if math.isfinite(value) else "null" for value in values)


def _json(value: Any) -> str:
    """JSON in ASCII without ``<``, ``>`` and ``&``: nothing in it can end the element that it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
