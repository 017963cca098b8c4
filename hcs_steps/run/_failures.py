"""What the failure of a unit says, whether a function raised an error or the process died."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime

from hcs_steps.compile.plan import Plan, StagePlan
from hcs_steps.errors import MEND, StepError
from hcs_steps.run import _gpu_memory
from hcs_steps.run._memory import OUT_OF_GPU_MEMORY, OUT_OF_MEMORY, is_out_of_memory, memory_sentence
from hcs_steps.run.devices import CPU
from hcs_steps.run.measure import peak_host_mb
from hcs_steps.run.outcome import Death
from hcs_steps.run.records import Failure

MISSING_INPUT = "missing input"
"""Kind of the failure of a unit that needs a result of a stage which is left out and does not have it."""


class MissingInputError(StepError):
    """A unit that needs the result of a stage which nothing in this run makes: the stage is left out, or is done and
    what it has made is gone.
    """

    def __init__(self, upstream: StagePlan, unit: str, plan: Plan) -> None:
        which = "the plate" if upstream.scope == "plate" else f"unit {unit}"
        if not upstream.skipped:
            super().__init__(
                f"What stage {upstream.name} has made for {which} is gone, though its record says that it is there.",
                hint=MEND,
            )
            return
        mode = f" in mode {plan.mode!r}" if plan.mode != "full" else ""
        super().__init__(
            f"The result of stage {upstream.name} for {which} is missing, or was made with other settings, and the "
            f"stage is left out of this run{mode} ({upstream.skipped}).",
            hint=f"Run it first: without the mode, or with --from-stage {upstream.name} or an earlier one.",
        )


def failure_of_death(stage: StagePlan, death: Death) -> Failure:
    """Of a unit whose process died or was killed. Log and attempt are left to who writes it."""
    step = death.step or stage.name
    return Failure(stage.name, death.unit, step, death.kind, death.error, "", _now(), "", 1, death.stack)


def failure_of_error(stage: StagePlan, unit: str, error: BaseException, device: str) -> Failure:
    """Of a unit that ended with an error. Log and attempt are left to who writes it."""
    cause = getattr(error, "error", error)
    text = str(error) or type(error).__name__
    kind = MISSING_INPUT if isinstance(cause, MissingInputError) else type(cause).__name__
    if isinstance(cause, SystemExit):
        text = f"A function called sys.exit({cause.code!r}); it must raise an error, or return."
    elif _gpu_memory.ran_out(cause):  # asked first: CuPy's own error is a MemoryError, too
        kind, text = OUT_OF_GPU_MEMORY, f"{text.rstrip('.: ')}. {_gpu_sentence(stage, device)}"
    elif is_out_of_memory(cause):
        sentence = memory_sentence(stage.mem_mb, peak_host_mb())
        kind, text = OUT_OF_MEMORY, f"{text.rstrip('.: ')}. {sentence}"
    return Failure(
        stage=stage.name,
        unit=unit,
        step=getattr(error, "step", stage.name),
        kind=kind,
        error=text,
        file=getattr(cause, "file", ""),
        time=_now(),
        log="",
        attempt=1,
        stack="".join(traceback.format_exception(cause)),
    )


def peak_gpu_mb(device: str) -> int:
    """GPU memory that this process has taken at the most since the unit started, in MB."""
    return 0 if device == CPU else _gpu_memory.peak_mb()


def _gpu_sentence(stage: StagePlan, device: str) -> str:
    """What the failure of a unit that ran out of GPU memory says of the figures, and what helps."""
    if device == CPU:
        return (
            "It needed more GPU memory than there was, of a GPU that the unit was not given. A function that uses one "
            "should declare devices=('cpu', 'gpu'), so that jobs take turns."
        )
    cpu = ", or gpu: auto for the plate, which leaves it to the CPU" if stage.gpu_only else ""
    return (
        f"It needed more GPU memory than there was: {stage.gpu_mem_mb} MB were predicted, {peak_gpu_mb(device)} MB "
        f"were measured at the peak. What helps is a GPU with more memory, a smaller batch or stack{cpu}."
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
