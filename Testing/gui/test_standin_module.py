"""The stand-ins for Slicer's application and its loader of modules do what Slicer's own do."""

import subprocess

import pytest
import slicer
from standin import dialogs, events, module, packages

# The application and the module

SCRIPT = """
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _
import qt, slicer

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Tiny")
        self.said = []
        slicer.app.connect("startupCompleted()", lambda: self.said.append("started"))

class TinyWidget(ScriptedLoadableModuleWidget, slicer.util.VTKObservationMixin):
    said = []
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        slicer.util.VTKObservationMixin.__init__(self)
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = TinyLogic()
        self.layout.addWidget(qt.QLabel("tiny"))
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, lambda *_: self.said.append("closed"))
    def enter(self): self.said.append("enter")
    def exit(self): self.said.append("exit")
    def cleanup(self):
        self.removeObservers()
        self.said.append("cleanup")

class TinyLogic(ScriptedLoadableModuleLogic):
    pass

class TinyTest(ScriptedLoadableModuleTest):
    def runTest(self):
        self.delayDisplay("running")
        raise AssertionError("the self test ran")
"""


@pytest.fixture
def tiny(scene, tmp_path):
    path = tmp_path / "Tiny.py"
    path.write_text(SCRIPT)
    loaded = module.load(path)
    yield loaded
    if hasattr(slicer.modules, "tiny"):
        module.unload(loaded)


def test_a_scripted_module_is_loaded_entered_left_reloaded_and_unloaded(tiny, scene):
    assert slicer.modules.tiny is tiny
    assert slicer.util.modulePath("Tiny") == tiny.path
    assert (tiny.title, slicer.modules.TinyInstance.said) == ("Tiny", ["started"])
    slicer.util.selectModule("Tiny")
    widget = slicer.util.getModuleWidget("Tiny")
    assert widget is slicer.modules.TinyWidget
    assert type(slicer.util.getModuleLogic("Tiny")).__name__ == "TinyLogic"
    scene.Clear(False)
    said = widget.said
    assert said == ["enter", "closed"]
    slicer.util.reloadScriptedModule("Tiny")
    assert slicer.modules.TinyWidget is not widget
    assert said == ["enter", "closed", "cleanup"]
    module.unload(tiny)
    assert slicer.modules.__dict__.get("tiny") is None


def test_a_module_cannot_say_of_itself_what_slicer_does_not_know(tiny):
    with pytest.raises(AttributeError):
        tiny.titel = "Tiny"


def test_the_self_test_of_a_module_is_run_by_its_name(tiny):
    with pytest.raises(AssertionError, match="the self test ran"):
        slicer.selfTests["Tiny"](msec=0)


def test_the_parameter_node_of_a_module_is_one_and_carries_its_name(tiny):
    logic = slicer.util.getModuleLogic("Tiny")
    node = logic.getParameterNode()
    assert node is logic.getParameterNode()
    assert (node.GetSingletonTag(), node.GetAttribute("ModuleName")) == ("Tiny", "Tiny")


def test_an_error_display_is_seen_and_answered_and_an_unexpected_one_fails():
    import qt

    dialogs.expect(qt.QMessageBox.Ok)
    slicer.util.errorDisplay("It failed.", detailedText="Because.")
    assert dialogs.shown[0].text == "It failed."
    assert dialogs.shown[0].details == "Because."
    with pytest.raises(dialogs.UnexpectedDialogError, match="Again"):
        slicer.util.errorDisplay("Again")


def test_a_question_is_answered_with_the_button_and_a_file_dialog_with_a_path():
    import qt

    dialogs.expect(qt.QMessageBox.Yes, qt.QMessageBox.No, "/a/folder", "/a/file.zip")
    assert slicer.util.confirmYesNoDisplay("Really?")
    assert not slicer.util.confirmYesNoDisplay("Really?")
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == "/a/folder"
    assert qt.QFileDialog.getOpenFileName(None, "File", "", "*.zip") == "/a/file.zip"


def test_the_error_display_of_slicer_util_restores_the_cursor_and_raises():
    import qt

    dialogs.expect(qt.QMessageBox.Ok)
    with pytest.raises(ValueError, match="no such"), slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
        raise ValueError("no such thing")
    assert qt.QApplication.overrideCursor() is None
    assert "no such thing" in dialogs.shown[0].text


def test_settings_last_and_are_not_the_users_own(app):
    import qt

    qt.QSettings().setValue("Tiny/quality", "fast")
    assert slicer.app.settings().value("Tiny/quality") == "fast"
    assert slicer.util.settingsValue("Tiny/quality", "none") == "fast"
    assert slicer.app.settings().fileName().startswith(slicer.app.slicerHome)


def test_slicers_console_process_runs_beside_the_event_loop(app):
    lines, codes = [], []
    slicer.util.launchConsoleProcess(
        ["PythonSlicer", "-c", "print('one'); print('two'); raise SystemExit(3)"],
        useStartupEnvironment=False,
        blocking=False,
        logCallback=lines.append,
        completedCallback=codes.append,
    )
    assert events.wait_until(lambda: codes, 60)
    assert (lines, codes) == (["one", "two"], [3])


def test_the_slice_views_are_slicers_own_nodes(app, tiny_ct):
    slicer.util.setSliceViewerLayers(background=tiny_ct, fit=True)
    names = slicer.app.layoutManager().sliceViewNames()
    assert names == ("Red", "Yellow", "Green")
    composites = [slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode() for name in names]
    assert [node.GetBackgroundVolumeID() for node in composites] == [tiny_ct.GetID()] * 3


def test_slicer_app_and_its_modules_refuse_what_they_do_not_know(app):
    with pytest.raises(AttributeError):
        _ = slicer.app.applicationNaem
    with pytest.raises(AttributeError):
        _ = slicer.modules.flarepancancre
    with pytest.raises(RuntimeError, match="Nothing"):
        slicer.util.getModule("Nothing")


def test_packages_are_looked_up_for_real_and_installed_only_by_the_test(app, monkeypatch):
    assert slicer.packaging.pip_check("numpy>=1.20")
    assert not slicer.packaging.pip_check("numpy>=1000")
    with pytest.raises(RuntimeError, match="nothing installs"):
        slicer.util.pip_install("no-such-package")
    asked = []
    monkeypatch.setattr(packages, "installer", lambda requirements, **options: asked.append(requirements) or 0)
    dialogs.expect(1024)  # OK
    slicer.packaging.pip_ensure(["numpy>=1.20", "no-such-package>=2"], requester="Tiny", skip_packages=["torch"])
    assert asked == [["no-such-package>=2"]]
    assert "no-such-package" in dialogs.shown[0].text
    monkeypatch.setattr(packages, "installer", lambda requirements, **options: 1)
    with pytest.raises(subprocess.CalledProcessError):
        slicer.packaging.pip_install("no-such-package")
