"""Molecular Devices ImageXpress: MetaXpress exports and databases."""
