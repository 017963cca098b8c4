"""Finding objects: nuclei, cells, spots, phase-contrast regions, learned models."""
