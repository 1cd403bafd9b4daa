"""FlarePanCancer: 13 abdominal organs and tumours in CT, in 3D Slicer.

This file is the module as Slicer sees it; what it does is in FlarePanCancerLib and, without Slicer, in flareseg.
"""

import sys
import unittest
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

PACKAGES = ("FlarePanCancerLib", "flareseg")


class FlarePanCancer(ScriptedLoadableModule):
    """Name, help and acknowledgement."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Flare Pan-Cancer")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["SlicerFlarePanCancer developers"]
        self.parent.helpText = _(
            "Segments 13 abdominal organs in CT. Load a CT, press Segment. The default model draws organs only; other "
            "models draw tumours too. Everything is computed on this computer. Research use only; not a medical "
            "device. "
            '<a href="https://github.com/SlicerFlarePanCancer/SlicerFlarePanCancer">Documentation</a>'
        )
        self.parent.acknowledgementText = _(
            "Implements Li, Han and Wang: Abdominal Organs and Pan-Cancer Segmentation Based on Self-supervised "
            "Pre-training and Self-training (FLARE 2023, doi:10.1007/978-3-031-58776-4_11), and thanks the organizers "
            "of FLARE. The paper names its funding."
        )
        slicer.app.connect("startupCompleted()", self._register_sample_data)

    def _register_sample_data(self):
        from FlarePanCancerLib.sampledata import register

        register(Path(self.parent.path).parent / "Resources")


class FlarePanCancerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, and the scene's and the application's events that it must follow."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = self.many = None
        self._node = None
        self._connection = None
        self._entered = False
        self._emptied = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from FlarePanCancerLib.dicom_export import add_export_button
        from FlarePanCancerLib.many import ManyCts
        from FlarePanCancerLib.widget import Panel

        ui = slicer.util.loadUI(self.resourcePath("UI/FlarePanCancer.ui"))
        self.layout.addWidget(ui)
        self.ui = slicer.util.childWidgetVariables(ui)
        ui.setMRMLScene(slicer.mrmlScene)
        self.logic = FlarePanCancerLogic()
        self.panel = Panel(self.ui)
        self.many = ManyCts(self.ui, self.panel)
        self.export_button = add_export_button(self.ui, lambda: self.panel.parameters)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closes)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._scene_ready)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self._scene_imports)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._scene_ready)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._choices_changed)
        self._follow()

    def cleanup(self):
        """The module is reloaded, or Slicer ends: nothing of it may go on."""
        for part in filter(None, (self.many, self.panel)):
            part.end()
        self._leave()
        self.removeObservers()

    def enter(self):
        self._entered = True
        self._follow()
        self.panel.entered()
        self.panel.find_devices()

    def exit(self):
        """The run goes on; only the choices are no longer followed."""
        self._entered = False
        self._leave()

    def onReload(self):
        """Developer reload: this file and every module that it brought."""
        for name in [name for name in sys.modules if name.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def _choices_changed(self, caller, event):
        self.panel.refresh()

    def _scene_closes(self, caller, event):
        self.panel.close_scene()
        self.many.close_scene()
        self._scene_imports(caller, event)
        self._emptied = True

    def _scene_imports(self, caller, event):
        """What comes in decides, not the selectors, which take the first node that comes."""
        self._leave()
        self.panel.show(None)
        self._emptied = False

    def _scene_ready(self, caller, event):
        if self._entered:
            self._follow()

    def _follow(self):
        if self._node is not None:
            return
        stored = self.logic.has_choices() and not self._emptied
        self._emptied = False
        self._node = self.logic.getParameterNode()
        self._connection = self._node.connectGui(self.ui)
        self.addObserver(self._node, vtk.vtkCommand.ModifiedEvent, self._choices_changed)
        self.panel.show(self._node)
        if not stored:
            self.panel.recall()

    def _leave(self):
        if self._node is not None:
            self.removeObserver(self._node, vtk.vtkCommand.ModifiedEvent, self._choices_changed)
            self._node.disconnectGui(self._connection)
            self._node = self._connection = None


class FlarePanCancerLogic(ScriptedLoadableModuleLogic):
    """What scripts call: `slicer.util.getModuleLogic("FlarePanCancer").process(ct)`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)

    def getParameterNode(self):
        from FlarePanCancerLib.parameters import Parameters

        return Parameters(super().getParameterNode())

    def has_choices(self):
        """Whether the scene's parameter node has choices of a user already: a new one has no model."""
        return bool(super().getParameterNode().GetParameter("model"))

    def process(self, ct, segmentation=None, **options):
        """Segment CT nodes; see FlarePanCancerLib.logic.process."""
        from FlarePanCancerLib.logic import process

        return process(ct, segmentation, **options)


class FlarePanCancerTest(ScriptedLoadableModuleTest):
    """Runs in a real Slicer. Where packages or the sample CT are not to be had it skips, and says why."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        """What Reload and Test does; the test runner calls the tests one by one."""
        for test in (self.test_segment_sample, self.test_cancel):
            self.setUp()
            try:
                test()
            except unittest.SkipTest as reason:
                self.delayDisplay(f"Skipped: {reason}")

    def test_segment_sample(self):
        """The sample CT becomes a segmentation with liver, spleen and both kidneys, and a table."""
        ct = self._sample()
        self.delayDisplay("Segmenting the sample CT")
        outcome = FlarePanCancerLogic().process(ct, device="cpu", surfaces=True)
        self.assertTrue({"liver", "spleen", "right_kidney", "left_kidney"} <= set(outcome.found), outcome.found)
        row = next(row for row in outcome.rows if row["structure"] == "liver")
        array = slicer.util.arrayFromSegmentBinaryLabelmap(outcome.segmentation, "liver", ct)
        self.assertEqual(int((array > 0).sum()), row["voxels"])
        self.assertEqual(outcome.table.GetTable().GetNumberOfRows(), len(outcome.rows))
        self.delayDisplay("Segmented the sample CT")

    def test_cancel(self):
        """A cancelled run leaves the scene as it was."""
        ct = self._sample()
        run = FlarePanCancerLogic().process(ct, device="cpu", wait=False)
        run.cancel()
        run.wait()
        self.assertEqual(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), [])

    def _sample(self):
        from FlarePanCancerLib.dependencies import blocking, missing
        from FlarePanCancerLib.sample_fetch import FetchError, fetch_sample

        if absent := blocking(missing()):
            names = ", ".join(requirement.distribution for requirement in absent)
            self.skipTest(f"{names} not installed; press Segment once, which installs them")
        try:
            path = fetch_sample(slicer.app.processEvents)
        except FetchError as error:
            self.skipTest(str(error))
        return slicer.util.loadVolume(str(path))
