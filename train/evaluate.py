"""Every real case judged by a model that never saw it, and phantoms of unseen seeds by the final one."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.labels import structures
from flareseg.results.metrics import score_case
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume
from train.dataset import Case

COLUMNS = ("model", "case", "structure", "dsc", "nsd")


def predict(model: Path, cases: Sequence[Case]) -> Iterator[NDArray[np.uint8]]:
    """Label maps of `cases` by the model folder `model`, on the cases' own grids, one after the other."""
    segmenter = Segmenter(model)
    for case in cases:
        yield segmenter.segment(as_volume(case)).labels


def as_volume(case: Case) -> Volume:
    """A cached case as the pipeline takes it."""
    shape = (case.hu.shape[0], case.hu.shape[1], case.hu.shape[2])
    return Volume(np.asarray(case.hu), Geometry(shape, case.spacing_zyx_mm), name=case.name)


def score(model: str, case: Case, prediction: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """DSC and NSD, by FLARE's rules, of every structure that the case annotates.

    Structures that lie in neither the reference nor the prediction are left out: they would score 1 for nothing.
    """
    known = [structure for structure in structures() if case.known[structure.value]]
    return [
        {
            "model": model,
            "case": case.name,
            "structure": row.structure.name,
            "dsc": round(row.dsc, 4),
            "nsd": round(row.nsd, 4),
        }
        for row in score_case(prediction, np.asarray(case.labels), case.spacing_zyx_mm, known)
        if row.reference_ml > 0 or row.prediction_ml > 0
    ]


def write_scores(rows: list[dict[str, Any]], folder: Path) -> None:
    """evaluation.json for the model card, evaluation.csv for people."""
    (folder / "evaluation.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    with (folder / "evaluation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
