"""The files that pages are made of, and how their templates are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def asset(name: str) -> str:
    """The text of a file in ``report/assets``."""
    return (files("hcs_steps.report") / "assets" / name).read_text(encoding="utf-8")


def template(
    name: str, filters: Mapping[str, Callable[..., Any]], functions: Mapping[str, Callable[..., Any]]
) -> Any:
    """A page's template, in which every text is escaped and every name must be known."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters)
    environment.globals.update(functions)
    return environment.from_string(asset(name))
