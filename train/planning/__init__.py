"""Spacing, patch, batch and stages of a net from the sizes of the CTs and the memory of the GPU."""
