"""Intensities, projections and geometry: what happens to images before anything is found in them."""
