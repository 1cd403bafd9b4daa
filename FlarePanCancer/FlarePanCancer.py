"""FlarePanCancer: 13 abdominal organs and tumours in CT, in 3D Slicer.

This file is the module as Slicer sees it; what it does is in FlarePanCancerLib and, without Slicer, in flareseg.
"""

import sys
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
            "Segments 13 abdominal organs and tumours in CT. Load a CT, press Segment. Everything is computed on this "
            "computer. Research use only; not a medical device. "
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
        self.panel = None
        self._node = None
        self._connection = None
        self._entered = False
        self._emptied = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from FlarePanCancerLib.widget import Panel

        ui = slicer.util.loadUI(self.resourcePath("UI/FlarePanCancer.ui"))
        self.layout.addWidget(ui)
        self.ui = slicer.util.childWidgetVariables(ui)
        ui.setMRMLScene(slicer.mrmlScene)
        self.logic = FlarePanCancerLogic()
        self.panel = Panel(self.ui)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closes)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._scene_ready)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self._scene_imports)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._scene_ready)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._choices_changed)
        self._follow()

    def cleanup(self):
        """The module is reloaded, or Slicer ends: nothing of it may go on."""
        if self.panel is not None:
            self.panel.end()
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
        self.panel.cancel()
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
    """Runs in a real Slicer, and fails where something that it needs is missing."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_segment_sample()
        self.setUp()
        self.test_cancel()

    def test_segment_sample(self):
        """The sample CT becomes a segmentation with liver, spleen and both kidneys, and a table."""
        self.delayDisplay("Segmenting the sample CT")
        ct = self._sample()
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
        from flareseg.commands.sample import sample_ct

        absent = blocking(missing())
        self.assertEqual(list(absent), [], "install what the module needs first: press Segment once")
        return slicer.util.loadVolume(str(sample_ct()))
