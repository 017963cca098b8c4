"""The test Slurm, and labs that run on it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

import cluster
from slurm_lab import end_all, end_jobs_of


@pytest.fixture(scope="session", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Slurm runs, and is what commands find; the tests are skipped where it cannot."""
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip("needs pip install 'hcs-steps[slurm]'; make test-slurm does that")
    try:
        cluster.start()
    except cluster.Unavailable as error:
        cluster.stop()
        pytest.skip(f"no test Slurm: {error}")
    before = {name: os.environ.get(name) for name in cluster.ENVIRONMENT}
    os.environ.update(cluster.ENVIRONMENT)
    yield
    end_all()
    cluster.stop()
    # A node that was set down knows nothing of its jobs any more.
    end_jobs_of(tmp_path_factory.getbasetemp())
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
