"""Olympus/Evident ScanR."""
