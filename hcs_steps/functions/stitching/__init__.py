"""Mosaics: where the tiles of a well lie, and one image from all of them."""
