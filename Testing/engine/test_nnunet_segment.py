"""A model of other structures, imported from nnU-Net, goes the whole way: its own names in every kind of result."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from flareseg.cli import main
from flareseg.errors import UsageError
from flareseg.interop.import_model import import_model
from flareseg.interop.nnunet.importer import Choice
from flareseg.io.files import read_labels
from flareseg.labels import by_name
from flareseg.options import Options
from flareseg.segmenter import Segmenter
from flareseg.volume import Geometry, Volume, WorldBox
from train.synthetic.phantom import make_phantom

RECORDED = Path(__file__).parent / "data" / "nnunet" / "residual"
IMAGE = RECORDED / "image.nii.gz"
HOW = ("--model", "pelvis", "--device", "cpu", "--threads", "1", "--step", "1", "--no-tta", "--force")


@pytest.fixture(autouse=True)
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A user who has imported one model: prostate, urinary bladder and liver."""
    monkeypatch.setenv("FLARESEG_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FLARESEG_CACHE", str(tmp_path / "cache"))
    assert main(["models", "import", str(RECORDED / "model"), "--name", "pelvis"]) == 0
    capsys.readouterr()


def test_every_result_has_the_models_own_numbers_names_and_colours(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    labels, segments = tmp_path / "out.nii.gz", tmp_path / "out.seg.nrrd"
    measurements, report = tmp_path / "out.csv", tmp_path / "report"
    results = ("-o", str(labels), "-o", str(segments), "--measurements", str(measurements), "--report", str(report))
    assert main(["segment", str(IMAGE), *results, *HOW]) == 0
    found, geometry = read_labels(labels)
    assert set(np.unique(found)) == {0, 1, 2, 3}
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(segments)))  # read_labels would give FLARE's numbers
    assert np.array_equal(stored, found)
    header = segments.read_bytes().partition(b"\n\n")[0].decode("utf-8")
    names = {"1": "Prostate", "2": "Urinary bladder", "3": "Liver"}
    for number in range(3):
        value = _field(header, f"Segment{number}_LabelValue")
        assert _field(header, f"Segment{number}_Name") == names[value]
        if value == "3":
            colour = [float(part) for part in _field(header, f"Segment{number}_Color").split()]
            assert np.allclose(colour, np.array(by_name("liver").colour) / 255, atol=5e-3), "FLARE's colour of livers"
    with measurements.open(encoding="utf-8", newline="") as file:
        rows = {row["structure"]: row for row in csv.DictReader(file)}
    assert {"prostate", "urinary_bladder", "liver"} <= set(rows)
    millilitres = np.count_nonzero(found == 1) * geometry.voxel_ml
    assert float(rows["prostate"]["volume_ml"]) == pytest.approx(millilitres, rel=1e-3)
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "Prostate" in page and "Urinary bladder" in page and "Spleen" not in page


def test_structures_are_chosen_by_the_models_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.nii.gz"
    assert main(["segment", str(IMAGE), "-o", str(out), "--structures", "Urinary bladder", *HOW]) == 0
    assert set(np.unique(read_labels(out)[0])) == {0, 2}
    capsys.readouterr()
    assert main(["segment", str(IMAGE), "-o", str(out), "--structures", "spleen", *HOW]) == 2
    assert "known are: prostate, urinary_bladder, liver" in capsys.readouterr().err


@pytest.mark.parametrize("direction", [(1.0, 1.0), (-1.0, -1.0)], ids=["as DICOM", "turned"])
def test_the_region_is_found_however_the_voxels_of_the_file_lie(tmp_path: Path, direction: tuple[float, float]) -> None:
    phantom = make_phantom(5, spacing_zyx_mm=(5.0, 4.0, 4.0), phase="portal", view="abdomen", tumours=False)
    x, y = direction
    hu, labels = (np.ascontiguousarray(array[:, :: int(y), :: int(x)]) for array in (phantom.hu, phantom.labels))
    grid = Geometry(hu.shape, phantom.spacing_zyx_mm, direction=((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, 1.0)))
    model = import_model(RECORDED.parent / "anisotropic" / "model", choice=Choice(parity=False, region=True)).folder
    previews = []
    middle = np.array(grid.world_of(tuple(np.argwhere(labels == 1).mean(axis=0))))
    box = WorldBox(tuple(middle - 12), tuple(middle + 12))
    Segmenter(model, Options(device="cpu", threads=1)).segment(Volume(hu, grid), roi=box, preview=previews.append)
    [preview] = previews
    assert {structure.name for structure in preview.present()} >= {"liver", "right_kidney", "left_kidney"}
    for value in (1, 13):
        found = preview.geometry.world_of(tuple(np.argwhere(preview.labels == value).mean(axis=0)))
        true = grid.world_of(tuple(np.argwhere(labels == value).mean(axis=0)))
        assert np.linalg.norm(np.subtract(found, true)) < 40, f"mm, structure {value}"


def test_no_region_is_promised_for_other_structures() -> None:
    with pytest.raises(UsageError, match="FLARE's structures in CTs only; this model is for 'prostate'"):
        import_model(RECORDED / "model", name="second", choice=Choice(region=True))


def _field(header: str, key: str) -> str:
    [line] = [line for line in header.splitlines() if line.startswith(f"{key}:=")]
    return line.partition(":=")[2].strip()
