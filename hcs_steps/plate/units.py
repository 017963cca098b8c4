"""Lengths and numbers in metadata: foreign text that may hold anything."""

from __future__ import annotations

import math

from hcs_steps.plate.inventory import NAN

_MICROMETRES = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "µm": 1.0,  # micro sign
    "μm": 1.0,  # Greek mu
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "meter": 1e6,
    "centimeter": 1e4,
    "millimeter": 1e3,
    "nanometer": 1e-3,
    "picometer": 1e-6,
    "angstrom": 1e-4,
}
_SECONDS = {
    "day": 86_400.0,
    "d": 86_400.0,
    "hour": 3_600.0,
    "h": 3_600.0,
    "minute": 60.0,
    "min": 60.0,
    "second": 1.0,
    "s": 1.0,
    "millisecond": 1e-3,
    "ms": 1e-3,
    "microsecond": 1e-6,
    "µs": 1e-6,  # micro sign
    "μs": 1e-6,  # Greek mu
    "nanosecond": 1e-9,
    "ns": 1e-9,
}


def micrometres_in(unit: str) -> float:
    """Micrometres in one of ``unit``, NaN if that is no length (``pixel``, ``reference frame``)."""
    return _MICROMETRES.get(unit.strip().lower(), NAN)


def seconds_in(unit: str) -> float:
    """Seconds in one of ``unit``, NaN if that is no time."""
    return _SECONDS.get(unit.strip().lower(), NAN)


def number(text: str | None) -> float:
    """The finite number in a text, NaN if there is none."""
    try:
        value = float(text or "")
    except ValueError:
        return NAN
    return value if math.isfinite(value) else NAN


def whole(text: str | None, default: int = 0) -> int:
    """The whole number (of at most nine digits, not negative) in a text, ``default`` if there is none."""
    cleaned = (text or "").strip()
    return int(cleaned) if cleaned.isascii() and cleaned.isdigit() and len(cleaned) <= 9 else default
