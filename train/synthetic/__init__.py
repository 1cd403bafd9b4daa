"""Synthetic patients: phantoms, and resynthesized real ones."""
