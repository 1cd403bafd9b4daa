"""The CTs of the training's costs: one made longer or shorter, labelled as FLARE23's are, and a configuration for it.

A folder holds data/ (cases in the layout "cases"), config.yaml and, once `prepare` has run, run/.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import yaml
from harness import ROOT
from make_volume import continued
from numpy.typing import NDArray

from flareseg.io.files import read_volume, write_segmentation, write_volume
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Triple, Volume
from train.data.index import TUMOUR

PAPER = ROOT / "train" / "configs" / "paper.yaml"
SOURCE = "flare23"
UNSEARCHED, HELD_OUT, TEACHER = "unsearched", "held_out", "teacher"
"""Cases: one whose labels the stages before the last net fill in, its twin with all labels for `evaluate`, and a cube
that shows every structure, without which `prepare` would refuse to train."""
TEACHER_SHAPE = (16, 64, 64)
DRAWN = (1, 2, 3, 4)
"""Structures that the label map of `UNSEARCHED` annotates: those that most of FLARE23's do, and no tumours."""
LIVER = 1
TUMOUR_MM = 15.0


def labelled(path: Path) -> tuple[Volume, NDArray[np.uint8]]:
    """A CT, and the labels that the embedded model gives it, with a round tumour in its liver."""
    volume = read_volume(path)
    labels = Segmenter("default").segment(volume).labels.copy()
    places = np.argwhere(labels == LIVER)
    if len(places):
        centre = places[len(places) // 2]
        axes = np.ogrid[tuple(slice(size) for size in labels.shape)]
        spacing = volume.geometry.spacing_zyx_mm
        mm2 = sum(((axis - at) * mm) ** 2 for axis, at, mm in zip(axes, centre, spacing, strict=True))
        labels[(mm2 < TUMOUR_MM**2) & (labels == LIVER)] = TUMOUR
    return volume, labels


def write_cases(folder: Path, volume: Volume, labels: NDArray[np.uint8], slices: int) -> Path:
    """The cases of one length, and the configuration of their run; returns its path."""
    numbers = continued(len(volume.hu), slices)
    hu, drawn = volume.hu[numbers], labels[numbers]
    organs = np.where(drawn == TUMOUR, LIVER, drawn)
    mm = volume.geometry.spacing_zyx_mm
    data = folder / "data"
    partly = np.where(np.isin(organs, DRAWN), organs, 0)
    _write_case(data / UNSEARCHED, hu, {"seg": partly, "organs": organs}, DRAWN, mm)
    every = tuple(structure.value for structure in structures())
    _write_case(data / HELD_OUT, hu + 1, {"seg": drawn}, every, mm)  # the same voxels would be the same patient
    _write_case(data / TEACHER, *_teacher(hu, every), every, mm)
    return _write_config(folder)


def _teacher(hu: NDArray[np.int16], values: tuple[int, ...]) -> tuple[NDArray[np.int16], dict[str, NDArray[np.uint8]]]:
    """The middle of a CT, in which rows of voxels are labelled one after the other."""
    starts = [(size - part) // 2 for size, part in zip(hu.shape, TEACHER_SHAPE, strict=True)]
    box = tuple(slice(start, start + part) for start, part in zip(starts, TEACHER_SHAPE, strict=True))
    labels = np.zeros(TEACHER_SHAPE, np.uint8)
    for row, value in enumerate(values):
        labels[4:12, 4 * row : 4 * row + 4, 8:56] = value
    return np.ascontiguousarray(hu[box]), {"seg": labels}


def _write_case(
    folder: Path, hu: NDArray[np.int16], labels: dict[str, NDArray[np.uint8]], annotated: tuple[int, ...], mm: Triple
) -> None:
    z, y, x = hu.shape
    geometry = Geometry((z, y, x), mm)
    folder.mkdir(parents=True)
    write_volume(Volume(np.ascontiguousarray(hu), geometry), folder / "ct.nii.gz")
    for name, array in labels.items():
        drawn = np.ascontiguousarray(array.astype(np.uint8))
        write_segmentation(Segmentation(drawn, geometry, structures()), folder / f"{name}.nii.gz")
    info = {"labels_present": annotated, "split": "validation" if folder.name == HELD_OUT else "train"}
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")


def _write_config(folder: Path) -> Path:
    """paper.yaml with these cases, on one process and the CPU."""
    tables = {
        "extends": str(PAPER),
        "runs": str(folder / "run"),
        "output": str(folder / "run" / "model"),
        "processes": 1,
        "pseudo": {"device": "cpu"},
        "sources": {SOURCE: {"layout": "cases", "path": str(folder / "data")}},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tables), encoding="utf-8")
    return path
