"""What is called with an input, and what must hold of a result. Nothing but a FlareError may come out of these."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np


def volume(path: Path) -> str:
    from flareseg.io.files import read_volume

    found = read_volume(path)
    assert found.hu.dtype in (np.int16, np.float32) and np.isfinite(found.hu).all()
    assert found.hu.shape == found.geometry.shape_zyx and min(found.hu.shape) > 1
    numbers = [*found.geometry.spacing_zyx_mm, *found.geometry.origin_xyz_mm, *np.ravel(found.geometry.direction)]
    assert np.isfinite(numbers).all() and min(found.geometry.spacing_zyx_mm) > 0
    assert all(one_line(note) for note in found.notes), "a note of several lines"
    return f"{found.hu.shape}"


def labels(path: Path) -> str:
    from flareseg.io.files import read_labels

    found, geometry = read_labels(path)
    assert found.dtype == np.uint8 and found.shape == geometry.shape_zyx
    return f"{found.shape}"


def dicom(path: Path) -> str:
    """The list first, as a user who is asked to choose sees it."""
    from flareseg.io.dicom import list_series

    if path.is_dir():
        for series in list_series(path):
            assert one_line(str(series)), "a series that is told in several lines"
    return volume(path)


def model(path: Path) -> str:
    """Described, listed, imported, loaded and deleted again."""
    from flareseg.errors import FlareError
    from flareseg.interop.import_model import import_model
    from flareseg.model.bundle import load_bundle
    from flareseg.model.catalogue import describe, find_model, list_models, remove_model, structures_in

    for ask in (describe, structures_in, load_bundle):
        try:
            ask(find_model(path))
        except FlareError as error:
            assert one_line(str(error)), f"{ask.__name__}: an error of several lines"
    entry = import_model(path, name="fuzzed")
    listed = [one for one in list_models() if one.origin == "yours"]
    assert [one.name for one in listed] == ["fuzzed"] == [entry.name] and listed[0].version != "damaged"
    load_bundle(entry.folder)
    describe("fuzzed")
    remove_model("fuzzed")
    return entry.description[:40]


def listed_models(path: Path) -> str:
    """As `model`, of a folder that somebody else put among the user's models."""
    from flareseg.model.catalogue import list_models, models_folder

    place = models_folder()
    place.mkdir(parents=True, exist_ok=True)
    (place / "other").symlink_to(path)
    try:
        for entry in list_models():
            assert one_line(entry.description) and one_line(entry.version)
    finally:
        (place / "other").unlink()
    return model(path)


def cases(path: Path) -> str:
    from flareseg.cases.find import find_cases

    found = find_cases([path])
    found = getattr(found, "cases", found)
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "two cases of one name"
    assert all(name and os.sep not in name for name in names), "a case without a name"
    return f"{len(found)} cases"


TARGETS: dict[str, Callable[[Path], str]] = {
    "nifti": volume,
    "nrrd": volume,
    "meta": volume,
    "labels": labels,
    "dicom": dicom,
    "model": listed_models,
    "nnunet": model,
    "cases": cases,
}


def one_line(text: str) -> bool:
    """Whether a terminal shows it as one line, and does nothing else because of it."""
    return not any(character < " " or character in "\x7f\x85\u2028\u2029" for character in text)
