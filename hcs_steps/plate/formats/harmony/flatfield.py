"""The flat-field profiles that Harmony keeps with a measurement: read, and turned into images.

A profile is JSON without quotes (``{Background: {Character: NonFlat, Mean: 373.7, Profile: {...}}}``), one text per
channel. `read_profile` turns it into plain values that JSON can hold; `flatfield_image` evaluates it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hcs_steps.errors import PlateError
from hcs_steps.plate.units import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_CHARACTERS = 100_000
MAX_DEPTH = 16
MAX_DEGREE = 12

Part = dict[str, Any]
Profile = dict[str, Part]

_KEY = re.compile(r'"?([A-Za-z_]\w{0,63})"?\s*:')
_SPACE = re.compile(r"\s*")
# A text has no quotes, so a comma in it is told from a separator by what follows: a key, or another value.
_TEXT_IN_OBJECT = re.compile(r'(?:[^,{}\[\]]|,(?!\s*"?[A-Za-z_]\w{0,63}"?\s*:))*')
_TEXT_IN_LIST = re.compile(r"[^,{}\[\]]*")


def read_profile(text: str) -> Profile:
    """The ``background`` and ``foreground`` parts of one channel's profile text, those that it has.

    Each part has ``character`` (``Flat`` or ``NonFlat``), ``mean`` (grey values, None if unknown) and, if it has
    a profile, ``type``, ``coefficients`` (row ``n`` has the n + 1 terms of degree n), ``dims``, ``origin`` and
    ``scale``, each of these (x, y). Raises `PlateError` if the text is not a profile.
    """
    parsed = _parse(text)
    if not isinstance(parsed, dict):
        raise _unreadable("it is no object")
    parts = {name.lower(): parsed.get(name) for name in ("Background", "Foreground")}
    return {name: _part(part) for name, part in parts.items() if isinstance(part, dict)}


def flatfield_image(part: Mapping[str, Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    """The relative brightness over the field, (Y, X) of ``shape`` with mean 1: divide images by it.

    ``part`` is the ``background`` or ``foreground`` of `read_profile`. At column i and row j of an image of
    ``dims`` pixels the polynomial is taken at x = (i - origin[0]) * scale[0], y = (j - origin[1]) * scale[1],
    as the sum of ``coefficients[n][k] * x**(n - k) * y**k``: row n lists x^n, x^(n-1) y, ..., y^n (source:
    arronsullivan/Operetta_FFC; the brightness of an Operetta's own images agrees better with it than with x
    and y exchanged). An image of another size shows the same field at another binning, so pixel centres are
    scaled. A flat part, or one without a profile, is all ones.

    Raises `PlateError` for a profile that is no polynomial, or is not positive everywhere.
    """
    import numpy as np

    rows = part.get("coefficients")
    if part.get("character") == "Flat" or not rows:
        return np.ones(shape)
    if part.get("type") != "Polynomial":
        raise _unreadable(f"its type is {part.get('type')!r}, not Polynomial")
    terms = _terms(rows)
    (origin_x, origin_y), (scale_x, scale_y) = _pair(part, "origin"), _pair(part, "scale")
    width, height = _pair(part, "dims") if "dims" in part else shape[::-1]
    x = (np.arange(shape[1]) + 0.5) * width / shape[1] - 0.5
    y = (np.arange(shape[0]) + 0.5) * height / shape[0] - 0.5
    image = np.asarray(
        np.polynomial.polynomial.polygrid2d((y - origin_y) * scale_y, (x - origin_x) * scale_x, terms),
        np.float64,
    )
    if not (np.isfinite(image).all() and image.min() > 0):
        raise _unreadable("it is not positive everywhere")
    image /= image.mean()
    return image


def _terms(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Coefficients by the powers of (y, x)."""
    import numpy as np

    terms = np.zeros((len(rows), len(rows)))
    for degree, row in enumerate(rows):
        for power, coefficient in enumerate(row):
            terms[power, degree - power] = coefficient
    return terms


def _pair(part: Mapping[str, Any], name: str) -> tuple[float, float]:
    values = part.get(name)
    if not isinstance(values, list) or len(values) != 2:
        raise _unreadable(f"it has no {name}")
    return float(values[0]), float(values[1])


def _part(part: Mapping[str, Any]) -> Part:
    mean = part.get("Mean")
    facts: Part = {
        "character": str(part.get("Character", "")),
        "mean": mean if _is_number(mean) else None,
    }
    profile = part.get("Profile")
    if isinstance(profile, dict):
        facts["type"] = str(profile.get("Type", ""))
        for name in ("Dims", "Origin", "Scale"):
            values: Any = profile.get(name)
            if _is_row(values) and len(values) == 2:
                facts[name.lower()] = values
        rows = profile.get("Coefficients")
        if isinstance(rows, list) and 0 < len(rows) <= MAX_DEGREE + 1:
            if not all(_is_row(row) and len(row) == degree + 1 for degree, row in enumerate(rows)):
                raise _unreadable("its coefficients are not one row per degree")
            facts["coefficients"] = rows
    return facts


def _is_row(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _parse(text: str) -> Any:
    """The value in a text with or without quotes; numbers are float, ``NaN`` and the like None."""
    if len(text) > MAX_CHARACTERS:
        raise _unreadable(f"it has {len(text):,} characters")
    try:
        return json.loads(text, parse_int=float, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        value, end = _value(text, 0, 0, _TEXT_IN_LIST)
    if text[end:].strip():
        raise _unreadable(f"it goes on after its end, at character {end + 1}")
    return value


def _value(text: str, at: int, depth: int, plain: re.Pattern[str]) -> tuple[Any, int]:
    """The value that begins at ``at``, and the place behind it; ``plain`` says where a text ends."""
    if depth > MAX_DEPTH:
        raise _unreadable("it is nested too deeply")
    at = _skip(text, at)
    if text.startswith("{", at):
        return _object(text, at + 1, depth)
    if text.startswith("[", at):
        return _list(text, at + 1, depth)
    match = plain.match(text, at)
    word = match[0].strip() if match else ""
    return _scalar(word), match.end() if match else at


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while not text.startswith("}", at := _skip(text, at)):
        key = _KEY.match(text, at)
        if key is None:
            raise _unreadable(f"there is no name at character {at + 1}")
        values[key[1]], at = _value(text, key.end(), depth + 1, _TEXT_IN_OBJECT)
        at = _after_comma(text, at, "}")
    return values, at + 1


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    values: list[Any] = []
    while not text.startswith("]", at := _skip(text, at)):
        value, at = _value(text, at, depth + 1, _TEXT_IN_LIST)
        values.append(value)
        at = _after_comma(text, at, "]")
    return values, at + 1


def _after_comma(text: str, at: int, end: str) -> int:
    at = _skip(text, at)
    if text.startswith(",", at):
        return at + 1
    if not text.startswith(end, at):
        raise _unreadable(f"{end!r} is missing at character {at + 1}")
    return at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _scalar(word: str) -> Any:
    if word.lower() in ("nan", "null", "none", "inf", "-inf"):
        return None
    value = number(word)
    return word.strip('"') if math.isnan(value) else value


def _unreadable(why: str) -> PlateError:
    return PlateError(
        f"A flat-field profile cannot be used: {why}.",
        hint="Estimate the illumination from the images instead.",
    )
