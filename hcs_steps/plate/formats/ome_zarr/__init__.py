"""OME-Zarr plates (OME-NGFF 0.4 on Zarr 2, 0.5 on Zarr 3) as input."""
