"""The report shows the right colours and the right numbers, and is whole or absent."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from reported import LIVER, SPACING_ZYX_MM, SPLEEN, TUMOUR, a_segmentation, a_volume

from flareseg.errors import OutputError, UsageError
from flareseg.io.files import read_labels, read_volume
from flareseg.labels import by_name, structures
from flareseg.results import report
from flareseg.results.measure import measure
from flareseg.results.overlay import BACKGROUND, LEVEL_HU, OPACITY, draw
from flareseg.results.picture import CELL_WIDTH, HEADER, LEGEND_WIDTH, MARGIN, Panel, layout
from flareseg.results.report import PAGE, PICTURE, check_report, write_report
from flareseg.results.views import View, choose_views
from flareseg.segmentation import Segmentation
from flareseg.volume import Geometry, Volume

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def volume() -> Volume:
    return a_volume()


@pytest.fixture
def segmentation(volume: Volume) -> Segmentation:
    return a_segmentation(volume)


def pixels(path: Path) -> NDArray[np.float64]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), np.float64) / 255


# In the right colours


def a_view(hu: NDArray[np.int16], labels: NDArray[np.uint8]) -> View:
    return View("axial", hu, labels, (1.0, 1.0), ("R", "L", "A", "P"), "S 0 mm")


def test_colours_at_known_voxels_are_those_of_the_table_over_the_windowed_ct() -> None:
    hu = np.full((20, 30), LEVEL_HU, np.int16)
    hu[:, :3], hu[:, 27:] = -1000, 2000
    labels = np.zeros(hu.shape, np.uint8)
    labels[5:15, 8:14], labels[5:15, 14:22] = LIVER.value, TUMOUR.value
    image = draw(a_view(hu, labels), 300, 200)
    assert image.shape == (200, 300, 3)

    def at(row: float, column: float) -> NDArray[np.float32]:
        return np.asarray(image[int(row * 10), int(column * 10)])

    grey = 0.5 + 0.5 * np.array(BACKGROUND)
    assert at(2.5, 10.5) == pytest.approx(grey, abs=0.01)
    assert at(10.5, 1.0) == pytest.approx(BACKGROUND, abs=0.01)
    assert at(10.5, 29.0) == pytest.approx((1, 1, 1), abs=0.01)
    for structure, column in ((LIVER, 11.0), (TUMOUR, 18.0)):
        colour = np.array(structure.colour) / 255
        assert at(10.5, column) == pytest.approx(grey * (1 - OPACITY) + colour * OPACITY, abs=0.01)
        assert at(5.05, column) == pytest.approx(colour, abs=0.01)  # its outline
    assert at(10.5, 13.95) == pytest.approx(np.array(LIVER.colour) / 255, abs=0.01)
    assert at(10.5, 14.05) == pytest.approx(np.array(TUMOUR.colour) / 255, abs=0.01)


def test_an_overlay_covers_as_much_as_its_labels() -> None:
    labels = np.zeros((40, 40), np.uint8)
    y, x = np.ogrid[:40, :40]
    labels[(y - 20) ** 2 + (x - 18) ** 2 < 150] = SPLEEN.value
    image = draw(a_view(np.full((40, 40), -1000, np.int16), labels), 333, 333)
    covered = (image - np.array(BACKGROUND)).max(axis=2) > 0.05
    assert covered.mean() == pytest.approx((labels > 0).mean(), rel=0.02)


def test_a_single_voxel_can_be_seen() -> None:
    labels = np.zeros((100, 100), np.uint8)
    labels[50, 60] = TUMOUR.value
    image = draw(a_view(np.full((100, 100), -1000, np.int16), labels), 590, 590)
    colour = np.array(TUMOUR.colour) / 255
    assert image[int(50.5 * 5.9), int(60.5 * 5.9)] == pytest.approx(colour, abs=0.15)


def test_the_file_shows_the_panels_where_the_layout_has_them(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    write_report(segmentation, volume, tmp_path)
    image = pixels(tmp_path / PICTURE)
    panels, width, height = layout(choose_views(segmentation, volume))
    assert image.shape == (height, width, 3)
    assert image[2, 2] == pytest.approx(BACKGROUND, abs=0.005)
    for panel in panels:
        expected = draw(panel.view, panel.width, panel.height)
        shown = image[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width]
        # Letters and the scale bar cover a little.
        assert (np.abs(shown - expected).max(axis=2) < 0.01).mean() > 0.98
    assert liver_pixel() == pytest.approx(image_at(image, panels[0]), abs=0.01)


def liver_pixel() -> NDArray[np.float64]:
    """A pixel inside the liver as it should be."""
    grey = 0.5 + 0.5 * np.array(BACKGROUND)
    return np.asarray(grey * (1 - OPACITY) + np.array(LIVER.colour) / 255 * OPACITY)


def image_at(image: NDArray[np.float64], panel: Panel) -> NDArray[np.float64]:
    """The picture at the middle of the liver."""
    rows, columns = np.nonzero(panel.view.labels == LIVER.value)
    scale = panel.height / panel.view.hu.shape[0], panel.width / panel.view.hu.shape[1]
    y = panel.top + int((rows.mean() + 0.5) * scale[0])
    x = panel.left + int((columns.mean() + 0.5) * scale[1])
    return np.asarray(image[y, x])


# The page


def test_the_page_holds_the_picture_the_numbers_and_the_notes(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    named = replace(segmentation, name="<b>Case & Co</b>", seconds={"read": 0.5, "network": 1.25})
    files = write_report(named, volume, tmp_path / "new" / "folder")
    assert files == [tmp_path / "new" / "folder" / name for name in (PICTURE, PAGE)]
    page = files[1].read_text(encoding="utf-8")
    picture = re.search(r"data:image/png;base64,([^\"]+)\"", page)
    assert picture is not None
    (tmp_path / "slices.png").write_bytes(base64.b64decode(picture[1]))
    slices, whole = pixels(tmp_path / "slices.png"), pixels(files[0])
    # The page has the title and the legend as text; its picture has the slices alone.
    height, width = slices.shape[:2]
    assert np.array_equal(slices, whole[HEADER : HEADER + height, MARGIN // 2 : MARGIN // 2 + width])
    assert height < whole.shape[0] - HEADER and width < whole.shape[1] - LEGEND_WIDTH
    assert page.count("<h1>") == 1
    assert "<h1>&lt;b&gt;Case &amp; Co&lt;/b&gt;</h1>" in page
    for text in ("Research use only. Not a medical device.", "Tilted &lt;12&gt; degrees.", "default 0.1.0"):
        assert text in page
    assert "90 × 80 × 40 voxels of 3 × 2 × 5 mm" in page
    assert "1.8 s (read 0.5, network 1.2)" in page
    text = re.sub(r"<[^>]+>", " ", page)
    assert re.search(r"Liver\s+270\.0\s+40\s+0", text)  # 20 x 25 x 18 voxels of 30 microlitres
    assert re.search(r"Spleen\s+≥ 108\.0\s+40\s+0", text)  # it touches the lowest slice
    assert re.search(r"Pancreas\s+not found", text)
    assert not re.search(r"\w+://|@import|\burl\(", page)  # nothing is fetched from anywhere


def test_measurements_that_were_made_already_are_used(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    rows = [replace(row, volume_ml=1234.5) for row in measure(segmentation, volume)]
    write_report(segmentation, volume, tmp_path, rows)
    assert "1,234.5" in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_the_same_result_gives_the_same_bytes(segmentation: Segmentation, volume: Volume, tmp_path: Path) -> None:
    one, other = (write_report(segmentation, volume, tmp_path / name) for name in ("one", "other"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


# Whole or absent


def test_an_existing_report_is_replaced_only_when_asked(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    (tmp_path / PAGE).write_text("mine", encoding="utf-8")
    for call in (check_report, lambda folder: write_report(segmentation, volume, folder)):
        with pytest.raises(OutputError, match="exists"):
            call(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]
    write_report(segmentation, volume, tmp_path, overwrite=True)
    assert (tmp_path / PAGE).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_a_stop_while_drawing_leaves_nothing(
    segmentation: Segmentation, volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "draw_picture", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(segmentation, volume, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_to_be_so(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be"):
        write_report(segmentation, volume, tmp_path / "file" / "report")


def test_without_matplotlib_the_user_learns_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install matplotlib"):
        check_report(tmp_path)


def test_importing_the_report_loads_no_matplotlib_and_drawing_no_pyplot(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from flareseg.results.report import write_report\n"
        "from flareseg.segmentation import Segmentation; from flareseg.volume import Geometry, Volume\n"
        "assert 'matplotlib' not in sys.modules\n"
        "g = Geometry((4, 9, 9), (5.0, 2.0, 2.0)); hu = np.zeros((4, 9, 9), np.int16)\n"
        f"write_report(Segmentation(hu.astype(np.uint8), g, ()), Volume(hu, g), Path({str(tmp_path)!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Whatever comes


@pytest.mark.parametrize("name", ["$x_1$ \\frac", "肝臓 Ärzte\n\x00", "x" * 200])
def test_any_name_can_be_drawn_without_a_warning(
    segmentation: Segmentation, volume: Volume, tmp_path: Path, name: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(replace(segmentation, name=name), volume, tmp_path)
    assert (tmp_path / PICTURE).stat().st_size > 10_000


@pytest.mark.parametrize("part", [np.s_[:1], np.s_[:, :1], np.s_[:, :, :1], np.s_[:1, :1, :1], np.s_[5:6, 30:31]])
def test_volumes_of_one_voxel_along_an_axis_can_be_shown(
    segmentation: Segmentation, volume: Volume, part: tuple[slice, ...]
) -> None:
    hu, labels = volume.hu[part], segmentation.labels[part]
    geometry = Geometry(hu.shape, SPACING_ZYX_MM)
    for values in (labels, np.zeros_like(labels)):
        result = replace(segmentation, labels=values, geometry=geometry)
        panels, width, height = layout(choose_views(result, Volume(hu, geometry)))
        assert {panel.view.plane for panel in panels} == {"axial", "coronal", "sagittal"}
        assert all(panel.left + panel.width < width and panel.top + panel.height < height for panel in panels)
        assert all(np.isfinite(draw(panel.view, panel.width, panel.height)).all() for panel in panels)


def test_an_empty_result_and_a_speck_of_a_volume_have_a_report_too(
    segmentation: Segmentation, volume: Volume, tmp_path: Path
) -> None:
    part = np.s_[:1, :1, :1]
    geometry = Geometry((1, 1, 1), SPACING_ZYX_MM)
    speck = replace(segmentation, labels=np.zeros_like(segmentation.labels[part]), geometry=geometry)
    write_report(speck, Volume(volume.hu[part], geometry), tmp_path)
    assert "not found" in (tmp_path / PAGE).read_text(encoding="utf-8")


def test_a_real_ct_is_shown_with_all_its_structures(real_cts: Path) -> None:
    case = real_cts / "spl_abdominal_atlas"
    volume = read_volume(case / "ct.nii.gz")
    labels, _ = read_labels(case / "seg.nii.gz")
    views = choose_views(Segmentation(np.where(labels == 255, 0, labels), volume.geometry, structures()), volume)
    shown = set().union(*(set(np.unique(view.labels)) for view in views[:4]))
    assert shown - {0} == set(range(1, 14))
    assert all(view.size_mm[1] < 400 for view in views)
    assert layout(views)[0][0].width <= CELL_WIDTH
    # The heart is above the liver, the pelvis below it: the patient is upright.
    coronal = views[4]
    liver = np.nonzero((coronal.labels == LIVER.value).any(axis=1))[0]
    kidney = np.nonzero((coronal.labels == by_name("left_kidney").value).any(axis=1))[0]
    assert liver.min() < kidney.min()
