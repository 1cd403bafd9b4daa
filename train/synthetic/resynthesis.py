"""Synthesize new patients from a label map: deform it and simulate another contrast phase.

Based on SynthSeg (Billot et al. 2023, https://doi.org/10.1016/j.media.2023.102789), with one difference: if the CT of
the label map is available, its texture, bowel, bones and fat are kept, and only the labelled tissues get new
intensities. Without a CT, a whole patient is rendered from the label map (`label_map.py`, `whole_body.py`).

`python -m train.synthetic.resynthesis SOURCE_CASE OUT_FOLDER COUNT [SEED]` writes COUNT new patients of a case (layout
"cases") to a new data folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from flareseg.errors import FlareError, InputError, UsageError
from flareseg.io.files import read_labels, read_volume
from flareseg.labels import Structure, by_names, structures
from flareseg.volume import Geometry, Orientation, Triple, box_of
from train.common.parallel import in_parallel, with_progress
from train.config import NewPatientsConfig, SourceConfig
from train.data.case_folder import CT, TRUTH, new_case, patient_of, read_info, write_ct, write_info, write_labels
from train.data.in_part import names_in_part
from train.data.index import IGNORE
from train.data.layouts.cases import annotated_values
from train.synthetic.body.contrast import PHASES, draw_phase
from train.synthetic.body.scanner import acquire
from train.synthetic.deformation import draw_deformation
from train.synthetic.label_map import EXTRA, GRID_MM, LabelMap, read_label_map, synthesize_from_labels
from train.synthetic.tissues import FLARE, SPL_ATLAS, TOTALSEGMENTATOR, Tissues, draw_tissue_hu
from train.synthetic.whole_body import AIR_HU

DETAILED: Mapping[str, Tissues] = {
    "extra_full_atlas_labels.nii.gz": SPL_ATLAS,
    "extra_totalsegmentator_v2_fast_labels.nii.gz": TOTALSEGMENTATOR,
    "extra_totalsegmentator_v2_labels.nii.gz": TOTALSEGMENTATOR,
}
"""More detailed label maps that a case may contain."""
_HOLLOW = ("esophagus_wall", "stomach_wall", "duodenum_wall", "bowel_wall")
_AS_SCANNED = ("bowel", "spongy_bone", "disc", "cartilage", "lung")
"""Tissues that hardly depend on the phase: they keep their intensities, if there is a CT."""


@dataclass(frozen=True)
class _Scanned:
    """A case with its CT, in canonical orientation; attributes as in `LabelMap`."""

    labels_zyx: NDArray[Any]
    tissues: Tissues
    truth_zyx: NDArray[np.uint8]
    spacing_zyx_mm: Triple
    hu_zyx: NDArray[Any]


def synthesize_patient(
    labels_zyx: NDArray[Any],
    spacing_zyx_mm: Triple,
    tissues: Tissues,
    rng: np.random.Generator,
    *,
    truth_zyx: NDArray[np.uint8] | None = None,
    hu_zyx: NDArray[Any] | None = None,
    phase: str | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Deform a label map and simulate the CT of a new patient.

    Args:
        labels_zyx: any label set, canonical orientation; no array is modified.
        spacing_zyx_mm: of all arrays.
        tissues: tissue of each label value; missing values have unknown tissue.
        rng: source of randomness.
        truth_zyx: the labels to deform and return, such as FLARE's; by default `labels_zyx`.
        hu_zyx: the CT of the label map, if available.
        phase: plain, arterial, portal or delayed; random by default.

    Returns:
        HU and deformed labels on a grid of the same spacing, whose size scales with the patient. Labels outside the
        source image are 255; without a CT, only above and below it.

    Raises:
        ValueError: when the arrays have different shapes.
    """
    truth = labels_zyx if truth_zyx is None else truth_zyx
    if truth.shape != labels_zyx.shape or (hu_zyx is not None and hu_zyx.shape != labels_zyx.shape):
        shapes = [array.shape for array in (labels_zyx, truth, hu_zyx) if array is not None]
        raise ValueError(f"the arrays have different shapes: {shapes}")
    if hu_zyx is None:
        chosen = phase or draw_phase(rng)
        return synthesize_from_labels(labels_zyx, spacing_zyx_mm, tissues, truth, rng, phase=chosen)[:2]
    deformation = draw_deformation(labels_zyx.shape, spacing_zyx_mm, rng)
    tissue_hu = draw_tissue_hu(rng, phase or draw_phase(rng))
    scan = _recoloured(hu_zyx, labels_zyx, tissues, tissue_hu, rng)
    hu = deformation.of_image(scan, AIR_HU)
    labels = deformation.of_labels(truth, IGNORE)
    return acquire(hu, rng, spacing_zyx_mm, arms=False), labels.astype(np.uint8)


def _recoloured(
    hu: NDArray[Any], labels: NDArray[Any], tissues: Tissues, tissue_hu: dict[str, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """The CT with each known tissue shifted to its new mean intensity and its texture scaled.

    The shift fades out at intensities of other materials inside the label: fat between lobules, gas and oral contrast
    in the gut. It is blurred by half a voxel to preserve partial volume at edges.
    """
    scan = hu.astype(np.float32)
    shift = np.zeros_like(scan)
    for value, name in tissues.items():
        box = box_of(labels == value)
        if box is None or name in _AS_SCANNED:
            continue
        inside = labels[box] == value
        old = scan[box][inside]
        middle = float(np.median(old[(old > -30) & (old < 500)])) if ((old > -30) & (old < 500)).any() else 40.0
        texture = (rng.uniform(0.4, 1.3) - 1) * np.clip(old - middle, -60, 60)
        if name in _HOLLOW:
            texture = 0 * texture
        fades_in = np.clip((old + 60) / 60, 0, 1)
        fades_out = np.clip((middle + 250 - old) / 100, 0, 1)
        shift[box][inside] = (tissue_hu[name] - middle + texture) * fades_in * fades_out
    return scan + ndimage.gaussian_filter(shift, 0.5, truncate=2)


def synthesize_patients(
    source: Path,
    folder: Path,
    count: int,
    seed: int = 0,
    *,
    annotated: Sequence[str] = (),
    absent: Sequence[str] = (),
    in_part: Sequence[str] = (),
) -> list[Path]:
    """Write `count` new patients of a case as cases under `folder`; existing ones are kept.

    Args:
        source: folder of the case: a CT and labels, or a label map of the whole body, see `label_map.py`.
        folder: output folder.
        count: number of new patients.
        seed: of the first.
        annotated: annotated structures of the case, hence also of its new patients; by default those in its info.json.
        absent: further structures that count as annotated because the case does not have them.
        in_part: structures of which not all are drawn, besides those in its info.json.

    Returns:
        The folders of all new patients.

    Raises:
        InputError: when the source is not a labelled case, or its files have different grids.
        OutputError: when a case cannot be written.
    """
    if not (source / TRUTH).is_file():
        raise InputError(f"'{source}' is no labelled case: it needs {TRUTH}, and {CT} or {EXTRA}.")
    info = read_info(source) or {}
    scanned = (source / CT).is_file()
    known = _read_scanned(source) if scanned else read_label_map(source, info)
    info["patient"] = patient_of(info, source.name)
    if annotated or absent or not scanned:
        truth = known.truth_zyx
        present = by_names(annotated) or _annotated(info.get("labels_present"), truth, source / "info.json")
        info["labels_present"] = {str(one.value): one.name for one in (*present, *by_names(absent))}
    partly = {one.value for one in by_names(in_part)}
    partly |= {*(annotated_values(info.pop("in_part", None), source / "info.json", "in_part") or ())}
    if partly:
        info["in_part"] = [one.name for one in structures() if one.value in partly]
    paths = []
    for number in range(count):
        path = folder / _name(source, seed + number)
        paths.append(path)
        made = read_info(path)
        if made is not None and _said_of_labels(made) == _said_of_labels(info):
            continue
        _write(path, known, seed + number, info)
    return paths


def _read_scanned(source: Path) -> _Scanned:
    volume = read_volume(source / CT)
    way = Orientation.of(volume.geometry)
    truth = way.to_canonical(_labels_on(source / TRUTH, volume.geometry))
    detailed, tissues = truth, FLARE
    for name, table in DETAILED.items():
        if (source / name).is_file():
            detailed, tissues = way.to_canonical(_labels_on(source / name, volume.geometry)), table
    spacing = way.geometry_to_canonical(volume.geometry).spacing_zyx_mm
    return _Scanned(detailed, tissues, truth, spacing, way.to_canonical(volume.hu))


def _said_of_labels(info: Mapping[str, Any]) -> tuple[Any, Any]:
    return info.get("labels_present"), info.get("in_part")


def draw_all(wanted: NewPatientsConfig, sources: Mapping[str, SourceConfig], folder: Path, processes: int = 1) -> None:
    """Write the new patients of a configuration as cases under `folder`; existing ones are kept.

    Args:
        wanted: source cases and number of new patients.
        sources: by name; they determine the annotated structures of the new patients.
        folder: output folder.
        processes: number of worker processes, each with its own source case.

    Raises:
        As `synthesize_patients`.
    """
    draw = partial(_draw_of, sources=sources, folder=folder, count=wanted.count, seed=wanted.seed)
    drawn = in_parallel(draw, wanted.cases, processes, "new patients")
    for _ in with_progress(drawn, len(wanted.cases), "new patients"):
        pass


def names_of(wanted: NewPatientsConfig) -> list[str]:
    """The names of all new patients of a configuration."""
    seeds = range(wanted.seed, wanted.seed + wanted.count)
    return [_name(Path(case.partition("/")[2]), seed) for case in wanted.cases for seed in seeds]


def _name(source: Path, seed: int) -> str:
    return f"{source.name}_{seed}"


def _draw_of(case: str, sources: Mapping[str, SourceConfig], folder: Path, count: int, seed: int) -> list[Path]:
    """Args: `case`: SOURCE/CASE."""
    name, _, own_name = case.partition("/")
    source = sources[name]
    home = Path(source.path).expanduser()
    said = {"annotated": source.annotated, "absent": source.absent, "in_part": names_in_part(source, own_name)}
    return synthesize_patients(home / own_name, folder, count, seed, **said)


def _annotated(present: Any, truth: NDArray[Any], about: Path) -> list[Structure]:
    """The annotated structures according to info.json, or else those that occur in the labels."""
    values = annotated_values(present, about)
    return [one for one in structures() if one.value in (np.unique(truth) if values is None else values)]


def _labels_on(path: Path, geometry: Geometry) -> NDArray[Any]:
    """Read a label map and check that it has the grid of its CT; values above 255 are allowed."""
    from flareseg.io.image import read_image

    if path.name == TRUTH:
        labels, grid = read_labels(path)
    else:
        image = read_image(path)
        labels, grid = image.stored, image.geometry
    if not grid.same_as(geometry, 0.1):
        raise InputError(f"The labels '{path}' lie on another grid than their CT.")
    return labels


def _write(path: Path, known: _Scanned | LabelMap, seed: int, info: dict[str, Any]) -> None:
    rng = np.random.default_rng(seed if isinstance(known, _Scanned) else [seed, crc32(known.labels_zyx.tobytes())])
    phase, about = str(rng.choice(PHASES)), {}
    given = known.labels_zyx, known.spacing_zyx_mm, known.tissues
    if isinstance(known, LabelMap):
        spacing = GRID_MM
        hu, labels, body = synthesize_from_labels(*given, known.truth_zyx, rng, phase=phase, grid_mm=spacing)
        made = "Rendered from a label map without a CT by train/synthetic/label_map.py: deformed, all tissues drawn."
        about = {"body": asdict(body)}
    else:
        spacing = known.spacing_zyx_mm
        hu, labels = synthesize_patient(*given, rng, truth_zyx=known.truth_zyx, hu_zyx=known.hu_zyx, phase=phase)
        made = "Synthesized from a real patient by train/synthetic/resynthesis.py: deformed, new intensities."
    grid = Geometry((hu.shape[0], hu.shape[1], hu.shape[2]), spacing)
    kept: dict[str, Any] = {
        key: info[key]
        for key in ("licence", "citation", "labels_present", "in_part", "source", "patient")
        if key in info
    }
    info = {"case": path.name, **kept, "split": "train", "seed": seed, "phase": phase, **about, "notes": made}
    with new_case(path) as case:
        write_ct(hu, grid, case)
        write_labels(labels, grid, case / TRUTH)
        write_info(info, case)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line, see the module docstring."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if len(given) not in (3, 4) or not all(text.isdigit() for text in given[2:]):
            raise UsageError("Usage: python -m train.synthetic.resynthesis SOURCE_CASE OUT_FOLDER COUNT [SEED]")
        for path in synthesize_patients(Path(given[0]), Path(given[1]), *map(int, given[2:])):
            print(path)
    except FlareError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
