"""Patch sampling and data augmentation."""
