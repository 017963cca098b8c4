"""How much is asked for by what was measured."""

from __future__ import annotations

import pytest

from hcs_steps.compile.grants import MARGIN_MINUTES
from hcs_steps.compile.process_memory import BASE_MB
from hcs_steps.learning.demand import ENOUGH, gpu_mb, host_mb, minutes
from hcs_steps.learning.measured import Measured, Spread, joined


def measured(
    count: int, host: float = 0, gpu: float = 0, seconds: float = 0, on_device: int | None = None
) -> Measured:
    spreads = [Spread(value / 2, value, value) for value in (host, gpu, seconds)]
    return Measured(count, *spreads, on_device=count if on_device is None else on_device)


def test_nothing_known_asks_for_what_was_predicted() -> None:
    assert host_mb(700, None, "unit") == 700
    assert gpu_mb(900, None, "unit") == 900
    assert minutes(60, None, "unit", 24) == 60


@pytest.mark.parametrize("count", [1, ENOUGH - 1, ENOUGH, 384])
@pytest.mark.parametrize("scope", ["unit", "plate"])
@pytest.mark.parametrize("predicted", [32, 512, 90_000])
@pytest.mark.parametrize("largest", [10.0, 500.0, 7_000.0])
def test_never_less_than_the_largest_measured_nor_than_any_process_takes(
    count: int, scope: str, predicted: int, largest: float
) -> None:
    asked = host_mb(predicted, measured(count, host=largest), scope)
    assert asked >= largest
    assert asked >= min(BASE_MB, predicted)
    assert asked % 32 == 0 or asked == predicted
    assert gpu_mb(predicted, measured(count, gpu=largest), scope) >= largest
    units = 24 if scope == "unit" else 1
    time = minutes(predicted, measured(count, seconds=largest), scope, units)
    assert time * 60 >= units * largest / 2 + MARGIN_MINUTES * 60


def test_few_units_raise_what_is_asked_for_and_many_may_lower_it() -> None:
    few, enough = ENOUGH - 1, ENOUGH
    assert host_mb(8_000, measured(few, host=300), "unit") == 8_000
    assert host_mb(8_000, measured(enough, host=300), "unit") < 1_000
    assert host_mb(200, measured(few, host=300), "unit") > 300
    assert minutes(60, measured(few, seconds=1), "unit", 1) == 60
    assert minutes(60, measured(enough, seconds=1), "unit", 1) == MARGIN_MINUTES + 1
    assert gpu_mb(8_000, measured(few, gpu=300), "unit") == 8_000
    assert gpu_mb(8_000, measured(enough, gpu=300), "unit") < 1_000


def test_one_run_of_a_plates_stage_is_enough() -> None:
    assert host_mb(8_000, measured(1, host=300), "plate") < 1_000
    assert minutes(60, measured(1, seconds=1), "plate", 1) == MARGIN_MINUTES + 1


def test_a_prediction_that_holds_with_its_margin_is_not_exceeded() -> None:
    assert host_mb(352, measured(384, host=300), "unit") == 352


def test_a_chunk_takes_more_time_and_no_more_memory() -> None:
    times = [minutes(60, measured(96, seconds=60), "unit", units) for units in (1, 24)]
    assert times[1] - MARGIN_MINUTES == 24 * (times[0] - MARGIN_MINUTES)


def test_units_that_ran_on_no_device_say_nothing_of_its_memory() -> None:
    assert gpu_mb(900, measured(96, host=300, on_device=0), "unit") == 900


def test_the_worst_plate_counts_where_several_are_joined() -> None:
    one, other = measured(10, host=100, seconds=4), measured(30, host=300, seconds=8)
    both = joined([one, other])
    assert both is not None
    assert (both.count, both.host_mb.largest, both.seconds.high) == (40, 300, 8)
    assert one.seconds.median < both.seconds.median < other.seconds.median
    assert joined([]) is None


def test_a_spread_holds_median_and_largest() -> None:
    spread = Spread.of([5, 1, 2, 3, 4])
    assert (spread.median, spread.largest) == (3, 5)
    assert Spread.of([]) == Spread()
