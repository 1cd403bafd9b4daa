"""What PyRadiomics itself says of small masks, recorded for the tests in Testing/engine.

    ../../.venv-pyradiomics/bin/python record_pyradiomics.py ../engine/data/pyradiomics.json

or `make record-pyradiomics`.

Its default extractor, of which the classes shape and firstorder of the original image are enabled. What it refuses to
measure is recorded as null. Runs in PyRadiomics' environment.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from radiomics.featureextractor import RadiomicsFeatureExtractor

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
from radiomics_masks import Case, cases

PREFIX = "original_"


def extractor_of_both() -> RadiomicsFeatureExtractor:
    """PyRadiomics' default extractor, with the classes shape and firstorder alone."""
    extractor = RadiomicsFeatureExtractor()
    extractor.disableAllFeatures()
    for name in ("shape", "firstorder"):
        extractor.enableFeatureClassByName(name)
    return extractor


def answer_of(
    extractor: RadiomicsFeatureExtractor, image: sitk.Image, mask: sitk.Image, value: int = 1
) -> dict[str, float] | None:
    """PyRadiomics' features of a value of a mask, in its order; None where it refuses."""
    try:
        found = extractor.execute(image, mask, label=value)
    except ValueError as error:
        print(error)
        return None
    return {name: float(number) for name, number in found.items() if name.startswith(PREFIX)}


def answer(case: Case) -> dict[str, float] | None:
    image, mask = sitk.GetImageFromArray(case.hu), sitk.GetImageFromArray(case.mask.astype(np.uint8))
    for one in (image, mask):
        one.SetSpacing(case.spacing_zyx_mm[::-1])
        one.SetDirection(case.direction)
    return answer_of(extractor_of_both(), image, mask)


def main() -> None:
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)
    made_by = {name: version(name) for name in ("pyradiomics", "SimpleITK", "numpy")}
    answers = {name: answer(case) for name, case in cases().items()}
    Path(sys.argv[1]).write_text(json.dumps({"made_by": made_by, "answers": answers}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
