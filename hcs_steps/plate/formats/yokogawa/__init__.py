"""Yokogawa CellVoyager CV7000, CV8000 and CQ1: plates with a ``MeasurementData.mlf``."""
