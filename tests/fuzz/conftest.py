"""Fuzzing: `HCS_FUZZ=100` runs a hundred times the examples, other ones each time (``make fuzz``)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
