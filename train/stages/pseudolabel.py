"""The stage `pseudolabel`: predict pseudo-labels for unannotated structures, with the Segmenter that users run.

Several nets are asked one after the other, and what they agree on counts (`agreement.py`).

Cases are divided among ranks. The label map of a case is written before its record: a crash loses at most one case. A
failed case is recorded with its error, does not stop the others, and is tried again by the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.errors import InputError, UsageError
from flareseg.io.files import read_volume, write_segmentation
from flareseg.labels import by_names, structures
from flareseg.options import Options
from flareseg.segmentation import Segmentation
from flareseg.segmenter import Segmenter
from flareseg.volume import Box, Volume
from train.common.devices import device_of_rank
from train.common.distributed import Rank
from train.common.label_values import value_counts, value_sums
from train.common.parallel import with_progress
from train.common.paths import RunPaths
from train.config import Config, PseudoConfig
from train.data.index import IGNORE, TUMOUR, CaseIndex, IndexedCase
from train.pseudolabels.agreement import agreed, mean_pairwise_dsc
from train.pseudolabels.pseudo_records import FAILED, Records, all_records

Array = NDArray[np.uint8]
Read = Volume | InputError | MemoryError


def unlabelled(config: Config, paths: RunPaths, index: CaseIndex) -> list[str]:
    """The cases of all ranks that have neither their pseudo-labels nor a recorded failure."""
    found = [(records, case) for records in all_records(config, paths) for case in records.wanted(index)]
    return list(dict.fromkeys(case.name for records, case in found if not records.is_settled(case)))


def pseudolabel(config: Config, paths: RunPaths, index: CaseIndex, rank: Rank) -> None:
    """Predict this rank's share of the pseudo-labels.

    Raises:
        DeviceError: when the device is not available.
        InputError: when the fit that predicts them is not finished, or when all of several cases failed.
        ModelError: when a model cannot be loaded.
        OutputError: when something cannot be written.
        UsageError: when several nets segment different structures.
    """
    for records in all_records(config, paths):
        mine = [case for case in rank.share(records.wanted(index)) if not records.is_done(case)]
        if mine:
            if stale := sum(map(records.is_stale, mine)):
                print(
                    f"pseudolabel {records.kind}: the labels of {stale} of {len(mine)} cases are stale (another model, "
                    "other settings or another image) and made again",
                    flush=True,
                )
            segmenters = _segmenters(records, rank)
            failed = sum(with_progress(_labelled(segmenters, records, mine), len(mine), f"pseudolabel {records.kind}"))
            if failed == len(mine) > 1:
                reason = records.facts(mine[0])[FAILED]
                raise InputError(
                    f"None of {failed} cases got {records.kind} pseudo-labels; the first failed because: {reason}"
                )


def confident_tumours(
    labels: NDArray[np.uint8], confidence: NDArray[np.uint8], voxel_ml: float, settings: PseudoConfig
) -> tuple[NDArray[np.uint8], list[dict[str, float]]]:
    """Filter predicted tumours: 14 for confident voxels, 255 for voxels of low confidence, 0 for small components.

    Args:
        labels: (z, y, x), 14 for predicted tumours, 255 for what only some of several nets took for one.
        confidence: (z, y, x), per cent.
        voxel_ml: volume of a voxel.
        settings: the limits.

    Returns:
        labels, and volume and mean confidence (0 to 1) of every remaining tumour, voxels of low confidence included.
    """
    import cc3d

    everything, box = np.zeros_like(labels), _box(labels > 0)
    labels, confidence = labels[box], confidence[box]
    maybe = (labels == TUMOUR) | (labels == IGNORE)
    parts, count = cc3d.connected_components(maybe, connectivity=26, return_N=True)
    found = parts > 0
    numbers, percent = parts[found], confidence[found]
    voxels = np.bincount(numbers, minlength=count + 1)
    sums = np.bincount(numbers, percent, minlength=count + 1)
    counts = voxels * voxel_ml >= settings.smallest_tumour_ml
    result = np.zeros_like(labels)
    sure = (percent >= 100 * settings.least_confidence) & (labels[found] == TUMOUR)
    result[found] = np.where(counts[numbers], np.where(sure, TUMOUR, IGNORE), 0)
    tumours = [
        {"ml": round(float(voxels[number]) * voxel_ml, 3), "confidence": round(sums[number] / voxels[number] / 100, 3)}
        for number in range(1, count + 1)
        if counts[number]
    ]
    everything[box] = result
    return everything, tumours


def _box(mask: NDArray[np.bool_]) -> Box:
    """The box around a mask; that of one voxel if the mask is empty."""
    [found] = ndimage.find_objects(mask.view(np.uint8), max_label=1)
    return found or (slice(0, 1),) * 3


def _segmenters(records: Records, rank: Rank) -> list[Segmenter]:
    """The nets that predict the labels."""
    segmenters = [_segmenter(name, records, rank) for name in records.nets]
    if records.kind == "organs":
        first, *others = ({structure.value for structure in one.structures} - {TUMOUR} for one in segmenters)
        for name, structures_of_it in zip(records.nets[1:], others, strict=True):
            if structures_of_it != first:
                raise UsageError(
                    f"pseudo: '{name}' and '{records.nets[0]}' segment different organs, so that they cannot agree."
                )
    return segmenters


def _segmenter(net: str, records: Records, rank: Rank) -> Segmenter:
    """A model; a fit of this run is exported first, and the main rank keeps the export."""
    config, paths, settings = records.config, records.paths, records.settings
    options = Options(device=device_of_rank(settings.device), mirroring=settings.mirroring or None)
    if net not in config.fits:
        return Segmenter(net, options)
    from train.stages.export import model_folder

    with model_folder(config, paths, net, net, rank, region=records.region) as folder:
        return Segmenter(folder, options)


def _labelled(segmenters: Sequence[Segmenter], records: Records, cases: Sequence[IndexedCase]) -> Iterator[bool]:
    """Predict pseudo-labels; yields for each case whether it failed."""
    for case, read in _read_ahead(cases):
        records.remove(case)
        try:
            if isinstance(read, Exception):
                raise read
            facts = _label(segmenters, read, records, case)
        except InputError as error:
            facts = {FAILED: str(error)}
        except MemoryError:
            facts = {FAILED: f"'{case.image}' needs more memory than this machine has free."}
        records.write(case, facts | {"model": ", ".join(one.model_name for one in segmenters)})
        if FAILED in facts:
            print(f"pseudolabel {records.kind}: {case.name}: {facts[FAILED]}", flush=True)
        yield FAILED in facts


def _label(segmenters: Sequence[Segmenter], volume: Volume, records: Records, case: IndexedCase) -> dict[str, Any]:
    """Predict and write the pseudo-labels of a case; returns its record."""
    settings = records.settings
    answers, confidences = _asked(segmenters, volume, records.kind)
    decided = [structure.value for structure in by_names(case.annotated) if structure.value != TUMOUR]
    labels, confidence = agreed(answers, confidences, settings.agreement, decided)
    drawn = segmenters[0].structures
    facts: dict[str, Any] = {"structures": [structure.name for structure in drawn]}
    if len(answers) > 1:
        judged = [s for s in drawn if (s.value == TUMOUR) == (records.kind == "tumour")]
        dsc = mean_pairwise_dsc(answers, [structure.value for structure in judged])
        facts["agreement"] = {s.name: round(dsc[s.value], 4) for s in judged}
        if records.kind == "organs":
            facts["structures"] = [s.name for s in judged if dsc[s.value] >= settings.least_agreement]
    if records.kind == "tumour":
        labels, facts["tumours"] = confident_tumours(labels, confidence, volume.geometry.voxel_ml, settings)
    else:
        counts, sums = value_counts(labels), value_sums(labels, confidence)
        present = [s for s in drawn if counts[s.value]]
        facts["confidence"] = {s.name: round(sums[s.value] / counts[s.value] / 100, 3) for s in present}
    path: Path = records.paths.pseudo(records.kind, case.name)
    write_segmentation(Segmentation(labels, volume.geometry, structures(), case.name), path, overwrite=True)
    return facts


def _asked(segmenters: Sequence[Segmenter], volume: Volume, kind: str) -> tuple[list[Array], list[Array]]:
    """Labels and confidence of each net; only tumours, where tumours are asked for."""
    answers, confidences = [], []
    for segmenter in segmenters:
        found = segmenter.segment(volume, confidence=True)
        assert found.confidence is not None
        tumours = (found.labels == TUMOUR) * np.uint8(TUMOUR) if kind == "tumour" else None
        answers.append(found.labels if tumours is None else tumours)
        confidences.append(found.confidence)
    return answers, confidences


def _read_ahead(cases: Sequence[IndexedCase]) -> Iterator[tuple[IndexedCase, Read]]:
    """Yield cases with their CTs, and read the next one in the background."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(_read, cases[0])
        for number, case in enumerate(cases):
            read = following.result()
            if number + 1 < len(cases):
                following = pool.submit(_read, cases[number + 1])
            yield case, read


def _read(case: IndexedCase) -> Read:
    try:
        return read_volume(case.image)
    except (InputError, MemoryError) as error:
        return error
