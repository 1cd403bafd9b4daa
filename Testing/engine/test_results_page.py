"""What the report's page holds of a CT is where it was, near enough, and small; and what `--anonymous` hides."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reported import LIVER, a_segmentation, a_volume

from flareseg.results import report, voxels
from flareseg.results.picture import draw_picture
from flareseg.results.report import PAGE, PICTURE, SHEET, ReportOptions, write_report
from flareseg.results.voxels import blocks_for, codes_of, fitting, levels_hu, pack, page_voxels
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

HU_STEP = 3


def test_hu_of_soft_tissue_come_back_to_a_step_and_others_to_sixteen_or_so() -> None:
    hu = np.arange(-1100, 3100, dtype=np.int16)
    back = levels_hu()[codes_of(hu)]
    soft = (hu >= -160) & (hu < 260)
    assert np.abs(back - hu)[soft].max() <= HU_STEP / 2 + 0.5
    assert np.abs(back - np.clip(hu, levels_hu()[0], levels_hu()[-1])).max() <= 12
    assert len(levels_hu()) <= 256 and (np.diff(levels_hu()) > 0).all()


def test_a_ct_that_fits_is_shown_voxel_by_voxel() -> None:
    volume = a_volume()
    segmentation = a_segmentation(volume)
    shown = page_voxels(segmentation, volume)
    assert shown.blocks == (1, 1, 1)
    z, y, x = (round(value) for value in shown.index_of(volume.geometry.world_of((20, 30, 30))))
    assert shown.labels[z, y, x] == LIVER.value
    assert (shown.labels == LIVER.value).sum() == (segmentation.labels == LIVER.value).sum()
    assert levels_hu()[shown.ct[z, y, x]] == pytest.approx(volume.hu[20, 30, 30], abs=2)


def test_a_large_ct_becomes_coarse_and_stays_in_its_place() -> None:
    volume = a_volume()
    segmentation = a_segmentation(volume)
    shown = page_voxels(segmentation, volume, most_voxels=20_000)
    assert shown.ct.size <= 20_000 and shown.blocks != (1, 1, 1)
    assert shown.geometry.spacing_zyx_mm == tuple(np.multiply(volume.geometry.spacing_zyx_mm, shown.blocks))
    centres = []
    for labels, geometry in ((segmentation.labels, volume.geometry), (shown.labels, shown.geometry)):
        inside = np.argwhere(labels == LIVER.value).mean(axis=0)
        centres.append(geometry.world_of(tuple(float(value) for value in inside)))
    assert np.abs(np.subtract(*centres)).max() < max(shown.geometry.spacing_zyx_mm)
    z, y, x = (round(value) for value in shown.index_of(volume.geometry.world_of((20, 30, 30))))
    assert levels_hu()[shown.ct[z, y, x]] == pytest.approx(40, abs=2)


def test_the_finest_axis_becomes_coarser_first() -> None:
    assert blocks_for((100, 512, 512), (5.0, 0.7, 0.7), 17_000_000) == (1, 2, 1)
    assert blocks_for((100, 512, 512), (5.0, 0.7, 0.7), 7_000_000) == (1, 2, 2)
    assert blocks_for((1, 1, 1), (1.0, 1.0, 1.0), 1) == (1, 1, 1)


def test_what_does_not_fit_is_made_smaller_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    hu = random.normal(40, 60, (30, 40, 40)).astype(np.int16)
    volume = Volume(hu, Geometry(hu.shape, (5.0, 5.0, 5.0)))
    segmentation = Segmentation(np.zeros(hu.shape, np.uint8), volume.geometry, (LIVER,))
    packed = pack(page_voxels(segmentation, volume))
    assert packed is not None
    monkeypatch.setattr(voxels, "MOST_BYTES", 15_000)
    assert pack(page_voxels(segmentation, volume)) is None
    shown, ct, labels = fitting(segmentation, volume)
    assert shown.blocks != (1, 1, 1) and len(ct) + len(labels) <= 15_000 * 4 / 3 + 8


def test_the_page_holds_codes_and_labels_that_can_be_unpacked(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    volume = a_volume()
    segmentation = a_segmentation(volume)
    write_report(segmentation, volume, tmp_path)
    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    facts = json.loads(re.search(r'id="facts">([^<]+)<', page)[1])
    arrays = {
        name: np.frombuffer(gzip.decompress(base64.b64decode(re.search(rf'id="{name}">([^<]+)<', page)[1])), np.uint8)
        for name in ("ct", "labels")
    }
    shown = page_voxels(segmentation, volume)
    codes = np.cumsum(arrays["ct"].reshape(facts["shape"]), axis=2, dtype=np.uint8)
    assert np.array_equal(codes, shown.ct)
    assert np.array_equal(arrays["labels"].reshape(facts["shape"]), shown.labels)
    assert facts["levels"] == levels_hu().tolist() and facts["lesions"] == []


SECRETS = ("Mustermann", "19700101", "1.2.840.99", "2026-11-30", "/data/Muster")


@pytest.fixture(scope="module")
def named() -> Segmentation:
    notes = ("Series 1.2.840.99 of 2026-11-30.", "'/data/Muster/x.nii.gz' has two positions.")
    return replace(a_segmentation(a_volume()), name="Mustermann_19700101", notes=notes)


def test_an_anonymous_report_names_no_one(named: Segmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    drawn: list[Segmentation] = []
    monkeypatch.setattr(report, "draw_picture", lambda case: drawn.append(case.segmentation) or draw_picture(case))
    files = write_report(named, a_volume(), tmp_path, options=ReportOptions(pdf=True, anonymous=True))
    assert [path.name for path in files] == [PICTURE, PAGE, SHEET]
    assert drawn[0].name == "CT" and len(drawn[0].notes) == 1  # of which the pictures are made
    for file in files:
        assert not [secret for secret in SECRETS if secret.encode() in file.read_bytes()]
    assert "left out here" in files[1].read_text(encoding="utf-8")


def test_otherwise_the_report_has_name_and_notes_and_a_page_to_print_without_a_date(
    named: Segmentation, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    files = write_report(named, a_volume(), tmp_path, options=ReportOptions(pdf=True))
    page = files[1].read_text(encoding="utf-8")
    assert [secret for secret in SECRETS if secret not in page] == []
    data = files[2].read_bytes()
    assert data.startswith(b"%PDF") and data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") == 1
    assert b"CreationDate" not in data and b"Mustermann" in data
