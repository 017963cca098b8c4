"""Warm processes: they have loaded what jobs need, and take one job after the other."""
