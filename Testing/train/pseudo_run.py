"""A run with CTs, ground truth and organ pseudo-labels of four small patients, for the tests of pseudo-labels, fusion,
export and scores."""

from __future__ import annotations
