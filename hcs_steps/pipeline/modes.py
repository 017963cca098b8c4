"""Modes: named parts of a pipeline's work, such as a quick look at a few wells.

Stages are named by any step that they begin or end with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.pipeline.config import Model

FULL = "full"
"""The mode that leaves nothing out."""


class ModeConfig(Model):
    """What a mode leaves out. A mode that narrows the plate has a results folder of its own."""

    description: str = ""
    """What the mode is for."""
    wells: int | str | list[str] | dict[str, Any] | None = None
    """Narrows the plate to these of the selected wells (a well filter)."""
    every: int | None = Field(default=None, ge=1)
    """Narrows the plate to every n-th of these wells."""
    sites: int | None = Field(default=None, ge=1)
    """Narrows every well to its first n sites."""
    from_step: str | None = Field(default=None, alias="from")
    """Stages before this step are not run; what they have made is used."""
    until: str | None = None
    """Stages after this step are not run."""
    skip: list[str] = Field(default_factory=list)
    """Stages with these steps are not run; what they have made is used."""
    existing_images: bool = False
    """Stages up to the last one that makes images are not run; what they have made is used."""

    @field_validator("skip", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def narrows(self) -> bool:
        """Whether only a part of the plate is looked at."""
        return any(value is not None for value in (self.wells, self.every, self.sites))


BUILT_IN: Mapping[str, ModeConfig] = {
    FULL: ModeConfig(description="everything"),
    "preview": ModeConfig(description="every 8th well, one site", every=8, sites=1),
    "analysis_only": ModeConfig(
        description="existing images, and only what comes after them", existing_images=True
    ),
}
"""The modes of every pipeline; one of the same name in a pipeline file replaces it."""


def all_modes(modes: Mapping[str, ModeConfig]) -> dict[str, ModeConfig]:
    """The usual modes and those of a pipeline, which go first."""
    return {**BUILT_IN, **modes}


def find_mode(modes: Mapping[str, ModeConfig], name: str, where: str) -> ModeConfig:
    """The mode of a pipeline called ``name``; `ConfigError` with the nearest name otherwise."""
    known = all_modes(modes)
    if name not in known:
        raise ConfigError(f"{where} has no mode {name!r}.", hint=nearest(name, known))
    return known[name]
