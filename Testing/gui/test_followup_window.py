"""*Follow-up…*: two results of the scene are chosen, the table fills, and a click goes to both dates."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))

import slicer
from helpers import LIVER, TUMOUR, ct_node, labels_for
from standin.events import wait_until

from FlarePanCancerLib import scene as segments
from FlarePanCancerLib.followup import Comparison

SHAPE = (16, 40, 40)
SCAN = {"change_per_cent": None, "longest_mm": 12.0, "remarks": ""}
LESION = {"number": 1, "target": True, "host": "liver", "scans": [SCAN, SCAN]}


def a_result(name, tmp_path, *corners):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:15, 5:35, 5:33] = LIVER
    for z, y, x in corners:
        labels[z : z + 4, y : y + 6, x : x + 6] = TUMOUR
    ct = ct_node(np.where(labels == 0, -100, 100).astype(np.int16), np.diag([-3.0, -3.0, 5.0, 1.0]), f"{name} CT")
    node = segments.new_segmentation(ct, name)
    segments.fill(node, labels_for(ct, labels, tmp_path))
    return node


@pytest.fixture
def window(scene, folders_of_its_own):
    from FlarePanCancerLib.followup_window import FollowUpWindow

    made = FollowUpWindow(lambda: True)
    made.show()
    yield made
    made.end()


def test_two_results_are_compared_in_the_background_and_a_click_shows_both_dates(window, tmp_path):
    results = [a_result("before", tmp_path, (4, 10, 10), (8, 25, 20)), a_result("after", tmp_path, (4, 10, 10))]
    for selector, node in zip(window.selectors, results, strict=True):
        selector.setCurrentNode(node)
    window.button.click()
    assert window.button.text == "Cancel"
    assert wait_until(lambda: window.button.text == "Compare", 120)
    assert window.table.rowCount == 2, window.label.text
    texts = [[window.table.item(row, column).text() for column in range(6)] for row in range(2)]
    assert [row[0] for row in texts] == ["1 *", "2 *"] and texts[1][3:] == ["–", "-100.0 %", "gone"]
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    assert "no diagnosis: PR (partial response)" in window.label.text
    window.table.cellClicked.emit(1, 0)
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    place = window.comparison.lesions[1]["scans"][0]["place_xyz_mm"]
    if red is not None:
        assert red.GetSliceToRAS().GetElement(2, 3) == pytest.approx(place[2], abs=3)
    window.dialog.close()
    assert all(not result.GetDisplayNode().GetViewNodeIDs() for result in results)


def test_the_panels_button_opens_the_window_and_with_the_scene_its_table_goes(widget, scene):
    window = widget.panel.follow_up
    widget.ui.followUpButton.click()
    assert window.dialog.visible
    window._fill(Comparison((), (LESION,), "PR", ()))
    assert window.table.rowCount == 1
    scene.Clear(False)
    assert (window.table.rowCount, window.comparison) == (0, None)
    assert window.label.text == "Choose the results of two CTs of one patient."
    widget.cleanup()
    assert window.dialog is None


def test_what_the_engine_refuses_is_said_with_the_names_of_the_nodes(window, tmp_path):
    results = [a_result("before", tmp_path), a_result("after", tmp_path)]
    segmentation = results[1].GetSegmentation()
    segmentation.GetNthSegment(0).SetName("Spleen")
    for selector, node in zip(window.selectors, results, strict=True):
        selector.setCurrentNode(node)
    window.button.click()
    assert wait_until(lambda: window.button.text == "Compare", 120)
    assert window.label.text.startswith("'before' and 'after' have no organ in common")


def test_what_cannot_be_compared_is_said_in_the_window(window, tmp_path):
    window.button.click()
    assert window.label.text == "Choose two results."
    result, other = a_result("a", tmp_path), a_result("b", tmp_path)
    other.GetSegmentation().RemoveAllSegments()
    for selector, node in zip(window.selectors, (result, other), strict=True):
        selector.setCurrentNode(node)
    window.button.click()
    assert "'b' has no segment called as an organ" in window.label.text
    assert window.button.text == "Compare"
