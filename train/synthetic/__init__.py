"""Synthetic patients: phantoms, and patients resynthesized from real CTs."""
