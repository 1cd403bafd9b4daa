"""A result in the scene and on the panel as a run leaves it, without the run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))
from helpers import labels_array, labels_for

from FlarePanCancerLib.logic import Callbacks, Outcome
from FlarePanCancerLib.mrml_conversion import volume_of
from FlarePanCancerLib.run import _IntoScene
from flareseg.labels import structures
from flareseg.results.measure import measure
from flareseg.segmentation import Segmentation

WITH_LESIONS = structures()
ORGANS = tuple(structure for structure in WITH_LESIONS if structure.name != "tumour")
MODELS = {ORGANS: "default", WITH_LESIONS: "tumours"}


def finish(panel, ct, folder, *, looked_for=ORGANS, array=None, segmentation=None):
    """Give the panel what a run of `ct` gives: liver and spleen, and a lesion where lesions were looked for."""
    array = labels_array() if array is None else array
    array = np.where(np.isin(array, [structure.value for structure in looked_for]), array, 0).astype(np.uint8)
    volume = volume_of(ct)
    model = f"{MODELS[looked_for]} {version_of(panel, MODELS[looked_for])}"
    rows = measure(Segmentation(array, volume.geometry, looked_for, "00000", model), volume)
    into = _IntoScene([Outcome(ct, segmentation, looked_for)], Callbacks(done=panel._on_done), True)
    into.done(0, labels_for(ct, array, folder), [row.as_row() for row in rows])
    return into._outcomes[0]


def version_of(panel, model):
    """The real one of an embedded model."""
    return panel.choices._models[model].version
