"""Pictures for README and Extensions Manager: the panel, and Slicer's own views of the sample CT with its result.

    python Testing/gui/make_screenshots.py [CT] [FOLDER]

The panel is the real one on Qt, with Slicer's widgets replaced by the tests' stand-ins; the slice and 3D views are
drawn by Slicer's displayable managers off screen.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ["FLARESEG_DATA"] = tempfile.mkdtemp()  # the user's own models are nobody's business
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent / "slicer"), str(ROOT / "FlarePanCancer"), str(ROOT)]

import matplotlib  # noqa: E402
import numpy as np  # noqa: E402
from boot import application_logic, boot  # noqa: E402
from helpers import labels_for  # noqa: E402
from PIL import Image  # noqa: E402
from standin import module  # noqa: E402
from standin.events import screenshot, spin, wait_until  # noqa: E402
from standin.install import install  # noqa: E402

matplotlib.use("Agg")
VIEWS = (("Axial", "Axial"), ("Sagittal", "Sagittal"), ("Coronal", "Coronal"))
SIZE = (560, 441)


def main(ct_file: Path | None, folder: Path) -> None:
    import slicer

    from flareseg.commands.sample import sample_ct
    from flareseg.io.files import read_volume

    app = install(boot(), application_logic())
    loaded = module.load(ROOT / "FlarePanCancer" / "FlarePanCancer.py")
    representation = loaded.widgetRepresentation()
    representation.enter()
    widget = representation.self()
    representation.resize(470, 620)
    representation.show()
    spin(0.2)
    screenshot(representation, folder / "panel_empty.png")
    volume = read_volume(ct_file or sample_ct())
    node = slicer.util.addVolumeFromArray(np.ascontiguousarray(volume.hu), name="Abdomen CT")
    matrix = volume.geometry.index_to_world()
    matrix[:2] *= -1
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    widget.ui.ctSelector.setCurrentNode(node)
    wait_until(lambda: "CPU" in widget.ui.deviceSelector.itemText(0), 30)
    spin(0.2)
    screenshot(representation, folder / "panel_ready.png")
    get_models(widget, folder / "get_models.png")
    widget.ui.segmentButton.click()
    wait_until(lambda: widget.ui.progressBar.value > 350, 60)
    screenshot(representation, folder / "panel_running.png")
    wait_until(lambda: widget.panel.run is None, 120)
    widget.ui.show3DButton.checked = True
    representation.resize(470, 1190)
    spin(0.3)
    screenshot(representation, folder / "panel_done.png")
    together(node, widget.panel.parameters.segmentation, folder / "panel_done.png", folder / "FlarePanCancer_1.png")
    follow_up(widget, node, folder / "followup.png")
    error(widget, representation, folder / "panel_error.png")
    many_cts(widget, node, folder / "many_cts.png")
    widget.cleanup()
    for path in folder.glob("*.png"):
        shrink(path)
    shutil.rmtree(os.environ["FLARESEG_DATA"], ignore_errors=True)
    app.quit()


def shrink(path: Path) -> None:
    """With 256 colours a picture takes a third of the room; those that had no more are left alone."""
    with Image.open(path) as picture:
        if picture.mode == "P":
            return
        small = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2)
    small.save(path, optimize=True)


def error(widget: object, representation: object, path: Path) -> None:
    """A CT that the engine refuses: the results of the one before are not shown beside it."""
    import slicer

    empty = slicer.util.addVolumeFromArray(np.zeros((20, 24, 30), np.int16), name="Phantom")
    widget.ui.ctSelector.setCurrentNode(empty)
    widget.ui.segmentButton.click()
    wait_until(lambda: widget.panel.run is None, 120)
    spin(0.3)
    representation.resize(470, 620)
    spin(0.1)
    screenshot(representation, path)


def get_models(widget: object, path: Path) -> None:
    """The window behind *Get models…*, with a preset chosen that has a licence to be read."""
    widget.ui.getModelsButton.click()
    window = widget.panel.get_models
    wait_until(lambda: window.ui.modelsTable.rowCount, 60)
    window.ui.modelsTable.selectRow(1)
    spin(0.3)
    screenshot(window.dialog, path)
    window.ui.closeButton.click()


def follow_up(widget: object, node: object, path: Path) -> None:
    """The window behind *Follow-up…*: the sample's organs at two made-up dates, with lesions that are made up too."""
    import slicer

    from FlarePanCancerLib import scene
    from flareseg.labels import by_name

    result = widget.panel.parameters.segmentation
    organs = np.zeros(slicer.util.arrayFromVolume(node).shape, np.uint8)
    for segment_id, name in scene.own_segments(result).items():
        organs[slicer.util.arrayFromSegmentBinaryLabelmap(result, segment_id, node) > 0] = by_name(name).value
    spots = inner_places(organs == by_name("liver").value, 3)
    made = []
    for month, sizes_mm in (("March", (14, 9, 0)), ("June", (9, 0, 7))):
        labels = organs.copy()
        for spot, radius_mm in zip(spots, sizes_mm, strict=True):
            labels[distances_mm(labels.shape, spot, node.GetSpacing()[::-1]) < radius_mm] = by_name("tumour").value
        ct = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(node).copy(), name=f"Abdomen CT, {month}")
        ct.CopyOrientation(node)
        one = scene.new_segmentation(ct)
        scene.fill(one, labels_for(ct, labels, Path(os.environ["FLARESEG_DATA"])))
        made += [ct, one]
    widget.ui.followUpButton.click()
    window = widget.panel.follow_up
    for selector, one in zip(window.selectors, made[1::2], strict=True):
        selector.setCurrentNode(one)
    window.button.click()
    wait_until(lambda: window.button.text == "Compare", 120)
    window.dialog.resize(620, 300)
    spin(0.3)
    screenshot(window.dialog, path)
    window.dialog.close()
    for one in made:
        slicer.mrmlScene.RemoveNode(one)


def inner_places(mask: np.ndarray, count: int) -> list[np.ndarray]:
    """Voxels far inside a mask, and far from each other."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]  # the edge of the scan is one
    places = []
    for _ in range(count):
        places.append(np.array(np.unravel_index(depth.argmax(), depth.shape)))
        depth[distances_mm(mask.shape, places[-1], (1, 1, 1)) < 25] = 0
    return places


def distances_mm(shape: tuple, place: np.ndarray, spacing_zyx: tuple) -> np.ndarray:
    """Of every voxel to one."""
    axes = np.indices(shape)
    return np.sqrt(sum(((axis - at) * mm) ** 2 for axis, at, mm in zip(axes, place, spacing_zyx, strict=True)))


def many_cts(widget: object, node: object, path: Path) -> None:
    """The section *Many CTs* while the second of three is at work; the first was done before."""
    import slicer

    for name in ("Abdomen CT, March", "Abdomen CT, June"):
        other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(node).copy(), name=name)
        other.CopyOrientation(node)
    widget.ui.ctSelector.setCurrentNode(node)
    section, representation = widget.many, widget.parent
    widget.ui.inputsCollapsible.collapsed = widget.ui.resultsCollapsible.collapsed = True
    section.ui.manyCollapsible.collapsed = False
    section.ui.sceneCtsButton.click()
    section.ui.segmentAllButton.click()
    wait_until(lambda: section.ui.manyProgressBar.value > 650 or not section.running, 120)
    representation.resize(470, 620)
    spin(0.3)
    screenshot(representation, path)
    section.cancel()
    wait_until(lambda: not section.running, 60)


def together(ct: object, segmentation: object, panel: Path, path: Path) -> None:
    """The panel beside four views, as in Slicer's own window."""
    import slicer
    from matplotlib.figure import Figure
    from matplotlib.image import imread
    from views import slice_picture, view_3d_picture

    from flareseg.labels import by_name

    bounds = [0.0] * 6
    segmentation.GetSegmentation().GetSegment("liver").GetBounds(bounds)
    at = [(bounds[2 * k] + bounds[2 * k + 1]) / 2 for k in range(3)]
    ct.GetRASBounds(bounds)
    at[0] = (bounds[0] + bounds[1]) / 2 + 0.3 * (at[0] - (bounds[0] + bounds[1]) / 2)
    at[1] = (bounds[2] + bounds[3]) / 2
    at[2] -= 25
    pictures = {
        name: slice_picture(slicer.mrmlScene, ct, orientation, SIZE, at, window=(-160, 240))[0]
        for name, orientation in VIEWS
    }
    pictures["3D"] = view_3d_picture(slicer.mrmlScene, SIZE)
    assert by_name("liver").title == "Liver"
    shown = imread(panel)
    height, width = shown.shape[:2]
    figure = Figure(figsize=((width + 2 * SIZE[0] + 30) / 100, height / 100), dpi=100, facecolor="#202020")
    total = width + 2 * SIZE[0] + 30
    left = figure.add_axes((0, 0, width / total, 1))
    left.imshow(shown)
    left.set_axis_off()
    for number, name in enumerate(("Axial", "3D", "Coronal", "Sagittal")):
        column, row = number % 2, number // 2
        box = ((width + 10 + column * (SIZE[0] + 10)) / total, 0.505 - 0.5 * row, SIZE[0] / total, 0.49)
        axes = figure.add_axes(box)
        axes.imshow(pictures[name], aspect="auto")
        axes.text(0.02, 0.96, name, color="white", transform=axes.transAxes, va="top", fontsize=11)
        axes.set_axis_off()
    figure.savefig(path, facecolor=figure.get_facecolor())


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(given[0] if given else None, given[1] if len(given) > 1 else ROOT / "Resources" / "Screenshots")
