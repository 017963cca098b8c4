"""Plans of small plates in memory."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import pytest

from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.plan import Plan
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate.inventory import Inventory, Plane

MakePlan = Callable[..., Plan]


@pytest.fixture(scope="session")
def make_plan() -> MakePlan:
    def make_plan(
        *steps: str,
        pipeline: str = "count",
        wells: Iterable[str] = ("A01", "B02"),
        plate: str = "P1",
        radius: int = 5,
        filters: Mapping[str, str] = MappingProxyType({}),
    ) -> Plan:
        """Every step is a tophat of its own stage, and is called as given."""
        planes = tuple(
            Plane(w, s, 1, 1, 1, f"{w}{s}.tif", 0, 9, 9, 64, 64, "uint16") for w in wells for s in (1, 2)
        )
        inventory = Inventory(
            plate_path=f"/{plate}",
            name=plate,
            format="test",
            evidence=(),
            planes=planes,
            channels={1: "DAPI"},
            rows=8,
            columns=12,
            grid_dimensions=None,
            pixel_size_um=0.65,
            pixel_size_source="metadata",
            missing=(),
            problems=(),
            disagreements=(),
            digest="digest",
        )
        made = [
            FunctionStep(("tophat", {"selem_radius": radius}), name=name, well_filter=filters.get(name))
            for name in steps
        ]
        config = GlobalPipelineConfig(vfs={"intermediate_backend": "disk"})  # type: ignore[arg-type]
        return compile_plate(
            inventory, Pipeline(made, name=pipeline, config=config), CompileOptions(plate_id=plate)
        )

    return make_plan
