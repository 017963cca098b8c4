"""Uneven illumination: estimated from a plate, or the microscope's own, and corrected."""
