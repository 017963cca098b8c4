"""The last stage of every plate: its page, from its tables, records and pictures."""

from __future__ import annotations

from collections.abc import Callable

from hcs_steps.compile.plan import Plan
from hcs_steps.report.page import write_report
from hcs_steps.report.pictures import plate_pictures
from hcs_steps.results import Results
from hcs_steps.run.made import Made
from hcs_steps.storage.protocol import ImageStore


def report(plan: Plan, results: Results, stores: Callable[[int], ImageStore], made: Made) -> None:
    """Write ``report.html``; ``stores`` opens the store of a step by its index."""
    pictures = plate_pictures(plan, results, stores)
    made.add_file(results, write_report(plan, results, pictures))
    made.notes += () if pictures is None else pictures.notes
    made.items = 1
