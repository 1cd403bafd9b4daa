"""A whole-body result becomes segments and surfaces in seconds, within memory that a laptop has."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from helpers import ct_node, ijk_to_ras, labels_for

from FlarePanCancerLib import scene as segments
from train.synthetic.phantom import make_phantom

LIMIT_GIB = 4


@pytest.mark.slow
def test_600_slices_with_14_segments_and_surfaces(scene, tmp_path):
    phantom = make_phantom(2, spacing_zyx_mm=(3.0, 3.0, 3.0), view="chest, abdomen and pelvis", tumours=True)
    labels = phantom.labels[np.linspace(0, len(phantom.labels) - 1, 600).round().astype(int)]
    for axis in (1, 2):
        labels = labels.take(np.linspace(0, labels.shape[axis] - 1, 512).round().astype(int), axis)
    ct = ct_node(np.zeros(labels.shape, np.int16), ijk_to_ras(np.diag([-1, -1, 1]), (0.8, 0.8, 1.0)))
    found = labels_for(ct, np.ascontiguousarray(labels), tmp_path)
    began = time.monotonic()
    node = segments.new_segmentation(ct)
    structures = segments.fill(node, found)
    filled = time.monotonic()
    segments.show_surfaces(node)
    done = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(structures)} segments in {filled - began:.2f} s, surfaces in {done - filled:.2f} s, peak {peak:.2f} GiB"
    )
    assert len(structures) == len(np.unique(labels)) - 1 == 14
    assert peak < LIMIT_GIB
