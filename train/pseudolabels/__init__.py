"""Ground truth over pseudo-labels, tumours over organs."""
