"""Learned models behind `segment_model`: loading from the user's disk, tiles, and labels from what they predict."""
