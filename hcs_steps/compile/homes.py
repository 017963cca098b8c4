"""Where the images and labels of steps go: in whose store labels lie, what is kept, and in which backend.

Part of phase 1; see `hcs_steps.compile.steps`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hcs_steps.compile.plan import StepPlan, StoreSettings
from hcs_steps.compile.request import Request
from hcs_steps.errors import ConfigError, HcsError, nearest
from hcs_steps.pipeline.enums import Backend, InputSource, MaterializationBackend, Scope, Unlisted

if TYPE_CHECKING:
    from hcs_steps.pipeline.config import GlobalPipelineConfig

SUFFIXES = {Backend.ZARR.value: ".ome.zarr"}
"""What a store's folder name ends in, by backend; nothing for the others."""


def lodge_labels(
    steps: Sequence[StepPlan], applies: Mapping[str, Sequence[bool]], request: Request
) -> list[StepPlan]:
    """Decide in whose store the labels of every step lie.

    A step that only labels needs no copy of the images: its labels join those images, if they are made by a step of
    the same stage that is for all of its wells, and have no labels of that name yet.
    """
    in_memory = request.pipeline.config.vfs.intermediate_backend == Backend.MEMORY
    lodged: list[StepPlan] = []
    host: int | None = None
    taken: set[str] = set()
    for index, step in enumerate(steps):
        if step.scope != Scope.UNIT:
            host = None
        elif step.labels:
            names = {name.casefold() for name in step.labels}
            wells = (well for well, used in applies.items() if used[index])
            fits = _only_labels(step) and not names & taken
            if host is not None and fits and all(applies[well][host] for well in wells):
                step = replace(step, own_images=False, labels_in=host)
                taken |= names
            else:
                step = replace(step, labels_in=index)
        if step.own_images:
            # Images that are written before the stage has ended are not touched any more.
            host = index if in_memory and not step.kept else None
            taken = {name.casefold() for name in step.labels}
        if request.pipeline.steps[index].gate:
            host = None
        lodged.append(step)
    return lodged


def _only_labels(step: StepPlan) -> bool:
    """Whether the images that a step leaves are those it got."""
    subset = "" not in step.branches and step.unlisted == Unlisted.DROP
    changes = any(call.changes_image for call in step.calls)
    return not (changes or subset or step.kept or step.input_source == InputSource.PIPELINE_START)


def place_images(steps: Sequence[StepPlan], request: Request) -> list[StepPlan]:
    """Decide the backend and the store of every step that has images of its own."""
    vfs = request.pipeline.config.vfs
    last = max((i for i, step in enumerate(steps) if step.own_images), default=None)
    hosts = {step.labels_in for step in steps if step.labels}
    placed = []
    for index, step in enumerate(steps):
        checkpoint = step.scope == Scope.UNIT and (step.kept or vfs.intermediate_backend != Backend.MEMORY)
        step = replace(step, checkpoint=checkpoint)
        if not step.own_images:
            placed.append(step)
            continue
        kept = step.kept or index == last or index in hosts
        backend = str(vfs.materialization_backend if kept else vfs.intermediate_backend)
        placed.append(replace(stored(step, backend), kept=kept))
    return placed


def stored(step: StepPlan, backend: str) -> StepPlan:
    """The step with its images in a store of a backend; in memory, there is none."""
    store = "" if backend == Backend.MEMORY else f"images/{step.name}{SUFFIXES.get(backend, '')}"
    return replace(step, backend=backend, store=store)


def check_backends(request: Request) -> list[HcsError]:
    """Backends that nobody has registered."""
    vfs, own = request.pipeline.config.vfs, set(request.options.store_types)
    return [
        ConfigError(
            f"vfs.{key} is {str(value)!r}, which is no storage backend.", hint=nearest(str(value), allowed)
        )
        for key, value, allowed in (
            ("intermediate_backend", vfs.intermediate_backend, own | set(Backend)),
            ("materialization_backend", vfs.materialization_backend, own | set(MaterializationBackend)),
        )
        if str(value) not in allowed
    ]


def store_settings(config: GlobalPipelineConfig) -> StoreSettings:
    """How the configuration has images written."""
    return StoreSettings(
        compressor=config.zarr.compressor.value,
        compression_level=config.zarr.compression_level,
        chunk_strategy=config.zarr.chunk_strategy.value,
        ngff_version=config.zarr.ngff_version.value,
        codec_pipeline=config.zarr.codec_pipeline.value,
        tiff_files=config.tiff.files.value,
        tiff_metadata=config.tiff.metadata.value,
    )
