"""How a function tells the compiler and the runner what it needs and what it returns.

A step function is pure: ``f(stack, **params) -> stack`` or ``(stack, out1, out2, ...)``, where ``stack`` is
(N, Y, X) and ``out1, out2, ...`` are the outputs named by the decorator, in that order. Undecorated functions
work too: they return a stack of as many planes as they got and no named outputs.

A parameter that the pipeline does not set, of a function that is given a stack, is filled by name when it is called

- ``planes``: the plane table of the stack, a mapping of columns, one row per plane, see `PLANE_COLUMNS`;
- ``grid_dimensions``: (rows, columns) of the grid that the sites of the stack lie in, or None;
- like a named output of an earlier step: that of the last one before that ran for the unit, else the parameter's
  default; labels come as a stack with a plane for each plane of the stack, a table
  whole, with its ``Metadata_`` columns, arrays and values from the call whose components agree best.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from hcs_steps.errors import PipelineError, nearest

Table = Mapping[str, NDArray[Any]]
"""Columns of equal length by name. In a step function's table output, an integer column ``plane`` says which
plane of the stack (0-based, along axis 0) a row belongs to; the runner turns it into well, site, channel, z
and timepoint."""

PLANE_COLUMNS = (
    "well", "site", "channel", "channel_name", "z_index", "timepoint",
    "x_um", "y_um", "z_um", "time_s", "pixel_size_um", "grid_row", "grid_column",
)  # fmt: skip
"""Columns of a plane table. Lengths in micrometres and times in seconds are float64, NaN where unknown;
``x_um`` and ``y_um`` are the stage position of the plane's centre, x to the right and y downwards in the image;
``grid_row`` and ``grid_column`` are the site's cell in the well's grid, from 0, or -1 where there is none."""

Geometry = Callable[[Table, tuple[int, int, int], tuple[int, int, int], Mapping[str, Any]], Table]
"""See ``geometry`` of `FunctionSpec`."""

Scale = Callable[[Mapping[str, Any], float], float]
"""See ``scale`` of `FunctionSpec`."""


class Cost(NamedTuple):
    """Peak bytes while a function runs: ``memory`` times those of its stack, ``scratch`` per pixel of a plane, and
    ``fixed`` whatever the images are; ``packages`` it loads besides those it always does. See `FunctionSpec`.
    """

    memory: float
    scratch: float = 0.0
    fixed: float = 0.0
    packages: tuple[str, ...] = ()

    def of(self, stack: NDArray[Any]) -> float:
        """Bytes for a stack (N, Y, X)."""
        return self.bytes(stack.nbytes, stack[0].size, is_wide(stack.dtype))

    def bytes(self, stack: float, plane: float, wide: bool) -> float:
        """Bytes for a stack of so many bytes, whose planes have so many pixels, of a dtype that `is_wide` or not."""
        return self.memory * stack + self.scratch * plane * (2 if wide else 1) + self.fixed


def is_wide(dtype: np.dtype[Any]) -> bool:
    """Whether float32 does not hold all values of a dtype, so that functions work in float64."""
    return dtype.itemsize > (4 if dtype.kind == "f" else 2)


class PlateSize(NamedTuple):
    """What a cost may depend on besides arguments: the plate's channels, and the most planes that one of them has."""

    channels: int = 1
    planes: int = 1


FILLED = object()
"""Stands for an argument that only the runner knows, where a cost is asked."""

Needs = Callable[[Mapping[str, Any], PlateSize], Cost]
"""See ``needs`` of `FunctionSpec`."""

OutputKind = Literal["table", "labels", "array", "value"]

Rows = Literal["objects", "planes", "other"]
"""What the rows of a table are: objects, which become the profile of their well; planes, at most one row each; or
something else, which is only joined over the wells."""


@dataclass(frozen=True)
class Output:
    """One named output besides the image stack.

    ``table``: a `Table` (or a DataFrame); ``labels``: a uint32 label stack shaped like the returned stack;
    ``array``: any numeric array, which counts in pixels of the returned stack and is refused on images of another
    pixel size; ``value``: anything JSON can hold (numbers, strings, lists, mappings). An
    ``optional`` output comes back only if an argument asks for it; it stands behind those that always do. ``rows``
    says what the rows of a table are. The ``name`` also names parameters and files, so `PipelineError` if it is not
    a plain word.
    """

    name: str
    kind: OutputKind
    optional: bool = False
    rows: Rows = "objects"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,99}", self.name):
            raise PipelineError(
                f"An output cannot be called {self.name!r}.",
                hint="Its name also names files: a letter, then letters, digits and _, at most 100 in all.",
            )
        kinds = get_args(OutputKind)
        if self.kind not in kinds:
            raise PipelineError(
                f"The output {self.name!r} cannot be of the kind {self.kind!r}.",
                hint=nearest(str(self.kind), kinds),
            )


@dataclass(frozen=True)
class FunctionSpec:
    """What the compiler knows of a step function without calling it.

    Parameters
    ----------
    outputs
        Named outputs, in the order in which the function returns them after the stack.
    reduces
        True: one plane comes back for the whole stack (composite, projection). False: as many as went in.
    changes_image
        False: the stack passes through unchanged (counting, measuring).
    dtype
        Data type of the returned stack: ``"same"`` as the input or a NumPy name.
    memory, scratch
        Peak host or device bytes while the function runs: ``memory`` times the bytes of its input stack, the
        input itself included, and ``scratch`` bytes per pixel of one plane; of the larger ones, where more pixels
        come back than went in. Labels come on top, those it takes and those it returns. A function that works
        plane by plane needs scratch; one that holds several whole stacks needs memory. Scratch is that of images whose
        values fit float32; it counts twice for wider ones.
    needs
        Memory and scratch of a call, where they depend on its arguments or on the plate:
        ``needs(params, plate) -> Cost`` with the arguments that the pipeline gives, `FILLED` in the place of those
        that the runner fills by name, and a `PlateSize`; ``memory`` and ``scratch`` are then those of the defaults.
        None: always ``memory`` and ``scratch``.
    packages
        The large packages that it loads, of those in `hcs_steps.compile.process_memory.PACKAGES_MB`. None: not known.
    devices
        Where it can run: ``("cpu",)`` or ``("cpu", "gpu")``. On the GPU it is handed CuPy arrays.
    planewise
        True: what comes back of a plane depends on that plane only, and on its part of the plane table and of labels,
        so that a stack may be given a few planes at a time where memory is short. Its tables have a column
        ``plane``. Not with ``reduces``, nor with outputs that are arrays or values.
    halves
        Arguments, whole numbers, that bound how much is in GPU memory at a time, such as a batch size: where that
        runs out they are halved, down to 1. They must not change the result, but for rounding.
    scope
        ``"unit"``: called with one stack. ``"plate"``: called once with the whole plate's results.
    stacks, needs_stacks
        The component whose planes the function puts together, e.g. ``"z_index"`` for a projection: what a step
        stacks unless it says ``variable_components`` itself. With ``needs_stacks`` a step that stacks
        something else gets this component instead (a mosaic of anything but sites has no meaning), and the
        plan says so.
    files
        Parameters that name files which the result depends on, such as a model's weights. A plan notices when
        one is replaced, and refuses one that is not there.
    mosaic
        True: the returned plane may be as large as all planes of the stack together, at their pixel size.
    scale
        How many pixels along each axis of a plane come back per pixel of the stack, for a function that changes
        their size: ``scale(params, pixel_size_um)`` with the call's arguments by name and the edge length of the
        stack's pixels, NaN if unknown. What it raises is an error of the pipeline, reported before anything runs.
        None: as many as before, or fewer.
    geometry
        How the plane table changes, for a function that returns planes of other places or another pixel
        size: ``geometry(planes, before, after, params) -> planes`` with the (N, Y, X) shapes before and after the
        call and the call's arguments by name. None: planes stay what they were.
    """

    outputs: tuple[Output, ...] = ()
    reduces: bool = False
    changes_image: bool = True
    dtype: str = "same"
    memory: float = 4.0
    scratch: float = 0.0
    needs: Needs | None = None
    packages: tuple[str, ...] | None = None
    devices: tuple[str, ...] = ("cpu",)
    planewise: bool = False
    halves: tuple[str, ...] = ()
    scope: Literal["unit", "plate"] = "unit"
    stacks: str = ""
    needs_stacks: bool = False
    files: tuple[str, ...] = ()
    mosaic: bool = False
    scale: Scale | None = None
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        whole = [output.name for output in self.outputs if output.kind in ("array", "value")]
        if self.planewise and (self.reduces or whole):
            raise PipelineError(
                "A function that treats planes one by one (planewise) returns a plane for each, and labels and tables "
                f"only{f', but {whole[0]!r} is none' if whole else ', but it reduces them to one'}.",
                hint="Declare it without planewise.",
            )

    def cost(self, params: Mapping[str, Any] | None = None, plate: PlateSize | None = None) -> Cost:
        """What a call takes, by default with the defaults, on a plate of one channel and plane."""
        if self.needs is None:
            return Cost(self.memory, self.scratch)
        return self.needs(params or {}, plate or PlateSize())


UNDECLARED = FunctionSpec()
"""What is assumed of a function without a decorator."""

F = TypeVar("F", bound=Callable[..., Any])


def step_function(
    *,
    outputs: Mapping[str, OutputKind] | None = None,
    optional_outputs: Mapping[str, OutputKind] | None = None,
    rows: Mapping[str, Rows] | None = None,
    reduces: bool = False,
    changes_image: bool = True,
    dtype: str = "same",
    memory: float = 4.0,
    scratch: float = 0.0,
    needs: Needs | None = None,
    packages: tuple[str, ...] | None = None,
    devices: tuple[str, ...] = ("cpu",),
    planewise: bool = False,
    halves: tuple[str, ...] = (),
    scope: Literal["unit", "plate"] = "unit",
    stacks: str = "",
    needs_stacks: bool = False,
    files: tuple[str, ...] = (),
    mosaic: bool = False,
    scale: Scale | None = None,
    geometry: Geometry | None = None,
) -> Callable[[F], F]:
    """Declare a step function; see `FunctionSpec` for the parameters. Returns the function itself.

    ``optional_outputs`` come after ``outputs``, and only if an argument asks for them; ``rows`` says what the rows of
    a table are, if not objects; see `Output`.

    >>> @step_function(outputs={"spots": "table"}, changes_image=False, memory=3)
    ... def find_spots(stack, threshold=0.5):
    ...     ...
    >>> spec_of(find_spots).outputs[0].name
    'spots'
    """
    meaning = rows or {}
    if needs is not None:
        memory, scratch, *_ = needs({}, PlateSize())
    spec = FunctionSpec(
        outputs=(
            *(
                Output(name, kind, rows=meaning.get(name, "objects"))
                for name, kind in (outputs or {}).items()
            ),
            *(
                Output(name, kind, optional=True, rows=meaning.get(name, "objects"))
                for name, kind in (optional_outputs or {}).items()
            ),
        ),
        reduces=reduces,
        changes_image=changes_image,
        dtype=dtype,
        memory=memory,
        scratch=scratch,
        needs=needs,
        packages=packages,
        devices=devices,
        planewise=planewise,
        halves=halves,
        scope=scope,
        stacks=stacks,
        needs_stacks=needs_stacks,
        files=files,
        mosaic=mosaic,
        scale=scale,
        geometry=geometry,
    )

    def attach(func: F) -> F:
        for name in halves:
            if name not in inspect.signature(func).parameters:
                raise PipelineError(
                    f"{func.__name__} has no argument {name!r}, which its declaration halves.",
                    hint="Name arguments of the function in halves.",
                )
        func.__hcs_step__ = spec  # type: ignore[attr-defined]
        return func

    return attach


def spec_of(func: Callable[..., Any]) -> FunctionSpec:
    """The declaration attached to ``func``, or `UNDECLARED`."""
    spec = getattr(func, "__hcs_step__", UNDECLARED)
    assert isinstance(spec, FunctionSpec)
    return spec
