"""Pseudo-labels and their fusion with the ground truth."""
