"""One case of the stage `prepare`: checked, converted, measured and cached, or rejected with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flareseg.errors import FlareError, InputError, OutputError
from flareseg.inference.body import BODY_ABOVE_HU
from flareseg.io.files import read_volume, write_segmentation
from flareseg.labels import structures
from flareseg.segmentation import Segmentation
from flareseg.volume import Volume
from train.common.label_values import value_counts
from train.data.cache import write_image, write_labels
from train.data.fingerprint import sample_of
from train.data.index import CLASSES, known_mask
from train.data.layouts.labels import Labels, check_values, ignore_unannotated, is_placeholder, labels_on, merged_labels
from train.data.prepare_records import Prepared, PrepareJob, read_record, stamp_of, write_record, write_refusal


def prepare_case(job: PrepareJob) -> Prepared:
    """Check, convert, measure and cache one case, and store the result.

    Raises:
        OutputError: when something cannot be written or memory is short. An error in the case itself is not raised:
            the case is rejected with it as the reason.
    """
    stamp = None
    try:
        stamp = stamp_of(job)
        return read_record(job, stamp) or _prepared(job, stamp)
    except OutputError:
        raise
    except FlareError as error:
        reason = str(error)
    except OSError as error:
        reason = f"'{job.found.image}' cannot be read: {error.strerror or error}."
    except MemoryError:
        raise OutputError(
            f"There is not enough memory to prepare '{job.found.image}'; start again with fewer processes: "
            "finished cases are kept."
        ) from None
    write_refusal(job, stamp, reason)
    return Prepared(job.name, refused=reason)


def _prepared(job: PrepareJob, stamp: dict[str, Any]) -> Prepared:
    found, paths = job.found, job.paths
    if found.problem:
        raise InputError(found.problem)
    volume = read_volume(found.image)
    if found.blank_headers and is_placeholder(volume.geometry):
        raise InputError(f"The header of '{found.image}' is a placeholder of 1 mm, so the size of the CT is not known.")
    labels, annotated, path = _labels(job, volume)
    occurring = [] if labels is None else _values_in(labels.array)
    organs = _organs(job, volume)
    grid = volume.geometry
    case = job.case(path, _names(annotated), _names(occurring), grid.shape_zyx, grid.spacing_zyx_mm)
    if organs is not None and organs.turned:
        case = replace(case, organs=paths.organs(job.name))
    for spacing, rule in job.grids:
        folder = paths.grid(spacing) / job.name
        write_image(folder, volume, spacing, rule)
        if labels is not None:
            write_labels(folder, "truth", labels.array, grid, known_mask(case.annotated))
    foreground = np.zeros(volume.hu.shape, bool)
    for some in filter(None, (labels, organs)):
        for mask, piece in zip(foreground, some.array, strict=True):
            mask |= (piece > 0) & (piece < CLASSES)
    labelled = bool(foreground.any())
    prepared = Prepared(
        name=job.name,
        case=case,
        fingerprint=_fingerprint(volume),
        pseudo=() if organs is None else _names(_values_in(organs.array)),
        sample=sample_of(volume.hu, foreground if labelled else volume.hu > BODY_ABOVE_HU, seed=0),
        labelled=labelled,
        turned=any(some is not None and some.turned for some in (labels, organs)),
    )
    write_record(job, stamp, prepared)
    return prepared


def _labels(job: PrepareJob, volume: Volume) -> tuple[Labels | None, list[int], Path | None]:
    """Ground truth (FLARE label values) on the grid of the CT, the values it annotates, and its file."""
    found = job.found
    searched = set(job.absent) | (set(found.searched) if job.annotated is None else set())
    if not found.labels and not searched:
        return None, [], None
    empty = Labels(np.zeros(volume.hu.shape, np.uint8), False)
    labels, turned = merged_labels(found.labels, volume.geometry, found.blank_headers) if found.labels else empty
    occurring = _values_in(labels)
    if wrong := _names(set(occurring) & set(job.absent)):
        raise InputError(f"Its labels show '{wrong[0]}', which the source '{job.source}' declares absent.")
    declared = job.annotated if job.annotated is not None else found.annotated
    known = {*(occurring if declared is None or not found.labels else declared), *searched}
    annotated = sorted(known - {*job.in_part})
    drawn = {*annotated, *job.in_part}
    partial = not set(occurring) <= drawn
    if partial:
        labels = ignore_unannotated(labels, drawn)
    if not annotated and not drawn & {*occurring}:
        return None, [], None  # an empty label map whose annotated structures are not declared says nothing
    if not partial and not turned and len(found.labels) == 1 and found.labels[0].values is None:
        return Labels(labels, turned), annotated, found.labels[0].path
    path = job.paths.labels(job.name)
    write_segmentation(Segmentation(labels, volume.geometry, structures(), job.name), path, overwrite=True)
    return Labels(labels, turned), annotated, path


def _organs(job: PrepareJob, volume: Volume) -> Labels | None:
    """The organ pseudo-labels that come with the source; if they had to be turned, they are written.

    Raises:
        InputError: when they have another grid than the CT, or unknown label values.
    """
    path = job.found.organs
    if path is None:
        return None
    organs = labels_on(path, volume.geometry)
    check_values(organs.array, range(1, CLASSES), path)
    if organs.turned:
        written = Segmentation(organs.array, volume.geometry, structures(), job.name)
        write_segmentation(written, job.paths.organs(job.name), overwrite=True)
    return organs


def _fingerprint(volume: Volume) -> str:
    hu, voxels = volume.canonical().hu, hashlib.sha256()
    for piece in hu:  # a copy of all of it would be as large as the CT
        voxels.update(np.ascontiguousarray(piece).data)
    return hashlib.sha256(repr((hu.shape, hu.dtype.str)).encode() + voxels.digest()).hexdigest()


def _values_in(labels: NDArray[np.uint8]) -> list[int]:
    counts = value_counts(labels)
    return [value for value in range(1, CLASSES) if counts[value]]


def _names(values: Iterable[int]) -> tuple[str, ...]:
    wanted = set(values)
    return tuple(structure.name for structure in structures() if structure.value in wanted)
