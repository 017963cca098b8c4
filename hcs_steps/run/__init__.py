"""Running stages: images read, functions called, results published, records written."""
