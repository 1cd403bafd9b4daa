"""Synthetic patients: drawn phantoms, and real ones resynthesized."""
