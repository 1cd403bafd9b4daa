"""Features of the structures of a CT beside PyRadiomics' own: the greatest difference, and CPU seconds of both.

    ../../.venv-pyradiomics/bin/python compare_pyradiomics.py CT LABELS
                                                        (or: make compare-pyradiomics CT=ct.nii.gz LABELS=labels.nii.gz)

Runs in PyRadiomics' environment. PyRadiomics' seconds include that it finds and cuts out the structure, as ours do.
"""

from __future__ import annotations

import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).parents[2] / "FlarePanCancer"))
from harness import RESULTS, describe, machine, table, write_results
from record_pyradiomics import answer_of, extractor_of_both

from flareseg.labels import structures
from flareseg.results.densities import Densities
from flareseg.results.features import features_of
from flareseg.results.regions import Regions


def main() -> None:
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    data = machine()
    ct, labels = (sitk.ReadImage(path) for path in sys.argv[1:3])
    hu, values = sitk.GetArrayFromImage(ct), sitk.GetArrayFromImage(labels).astype(np.uint8)
    extractor, spacing = extractor_of_both(), ct.GetSpacing()[::-1]
    features_of(np.ones((2, 2, 2), bool), None, spacing)  # imports
    rows, found = [], {}
    for structure in structures():
        began = time.process_time()
        region = Regions(values).of(structure.value)
        if region is None:
            continue
        ours = features_of(region.mask, Densities.of(region.of(hu)), spacing)
        between = time.process_time()
        theirs = answer_of(extractor, ct, labels, structure.value)
        seconds = between - began, time.process_time() - between
        if theirs is None or list(ours) != list(theirs):
            raise SystemExit(f"{structure.name}: other features than PyRadiomics'.")
        apart = {name: abs(ours[name] - value) / max(abs(value), 1e-9) for name, value in theirs.items()}
        worst = max(apart, key=lambda name: apart[name])
        found[structure.name] = {"seconds": seconds, "apart": apart[worst], "where": worst}
        times = [f"{one:.2f}" for one in seconds]
        rows.append([structure.title, f"{np.count_nonzero(region.mask):,}", *times, f"{apart[worst]:.0e}"])
    numbers = {name: version(name) for name in ("pyradiomics", "SimpleITK", "numpy", "scipy")}
    heads = ["structure", "voxels", "CPU seconds, flareseg", "PyRadiomics", "greatest relative difference"]
    command = f"make compare-pyradiomics CT={Path(sys.argv[1]).parent.name}/{Path(sys.argv[1]).name}"
    text = "\n\n".join(["# Features beside PyRadiomics' own", describe(command, data, numbers), table(heads, rows)])
    write_results("pyradiomics", {"machine": data, "found": found}, text, RESULTS)


if __name__ == "__main__":
    main()
