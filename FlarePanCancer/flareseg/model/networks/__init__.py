"""Network architectures: a file each, and the registry of their names."""
