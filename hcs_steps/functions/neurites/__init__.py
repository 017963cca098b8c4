"""Neurites: tracing, branches, Sholl analysis."""
