"""The first press of Segment on a computer that lacks a package: one question, and an answer that counts."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "slicer"))

import numpy as np
from helpers import ct_node
from standin import dialogs, packages

from FlarePanCancerLib import dependencies

LACKING = dependencies.Requirement("flare-lacking", "flare_lacking", "1.0", 3, "something it needs")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder of packages, to which the installer of the test adds one."""
    monkeypatch.setattr(dependencies, "requirements", lambda: (LACKING,))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.fixture
def panel(site, the_module, scene):
    representation = the_module.widgetRepresentation()
    representation.enter()
    widget = representation.self()
    widget.ui.ctSelector.setCurrentNode(ct_node(np.full((8, 8, 8), 40, np.int16)))
    widget.panel.parameters.device = "cpu"
    yield widget.panel
    widget.cleanup()


def installs_into(site, asked):
    def installer(requirements, **options):
        asked.append((requirements, options["skip_packages"]))
        (site / "flare_lacking.py").write_text("")
        metadata = site / "flare_lacking-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flare-lacking\nVersion: 1.2\n")
        importlib.invalidate_caches()
        return 0

    return installer


def test_one_confirmation_names_package_and_size_and_the_run_begins(panel, site, monkeypatch):
    asked = []
    monkeypatch.setattr(packages, "installer", installs_into(site, asked))
    dialogs.expect(__import__("qt").QMessageBox.Ok)
    panel.ui.segmentButton.click()
    [question] = [shown for shown in dialogs.shown if "flare-lacking" in shown.text]
    assert "3 MB" in question.text
    [(requirements, skipped)] = asked
    assert "flare-lacking" in str(requirements)
    assert {"torch", "SimpleITK", "numpy"} <= set(skipped)
    assert panel.run is not None
    panel.end()


def test_while_packages_come_nothing_can_be_pressed(panel, site, monkeypatch):
    seen = []

    def installer(requirements, **options):
        import qt
        import slicer

        [dialog] = [one for one in slicer.util.mainWindow().findChildren("QProgressDialog") if one.visible]
        seen.append((dialog.windowModality == qt.Qt.ApplicationModal, panel.ui.segmentButton.enabled))
        seen.append((panel.ui.inputsCollapsible.enabled, panel.ui.statusLabel.text))
        panel.segment()  # as another way to it might
        seen.append(len(dialogs.shown))
        return installs_into(site, [])(requirements, **options)

    monkeypatch.setattr(packages, "installer", installer)

    def agree(_box):
        import slicer

        dialogs_there = slicer.util.mainWindow().findChildren("QProgressDialog")
        assert not any(one.visible for one in dialogs_there), "first the question"
        return 1024

    dialogs.expect(agree)
    panel.ui.segmentButton.click()
    assert seen == [(True, False), (False, "Packages are being installed …"), 1]
    assert panel.ui.inputsCollapsible.enabled
    assert panel.run is not None
    panel.end()


def test_whoever_declines_gets_nothing_installed(panel, monkeypatch):
    monkeypatch.setattr(packages, "installer", lambda *_, **__: pytest.fail("it was declined"))
    dialogs.expect(__import__("qt").QMessageBox.Cancel)
    panel.ui.segmentButton.click()
    assert panel.run is None
    assert "Nothing was installed" in panel.ui.statusLabel.text


def test_without_a_network_the_commands_to_do_it_by_hand_are_reported(panel, monkeypatch):
    monkeypatch.setattr(packages, "installer", lambda *_, **__: 1)
    dialogs.expect(__import__("qt").QMessageBox.Ok)
    panel.ui.segmentButton.click()
    assert panel.run is None
    assert "flare-lacking" in panel.ui.statusLabel.text
    assert "\n" not in panel.ui.statusLabel.text
    panel.ui.detailsButton.visible = True
    assert "pip" in panel._details
    assert panel.ui.segmentButton.enabled
