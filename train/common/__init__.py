"""Shared helpers of the training: paths, JSON files, worker processes, ranks."""
