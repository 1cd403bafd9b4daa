"""First use: what is missing is installed, or it is explained why it cannot be.

The lists of installed packages are real ones, in a folder of their own; what installs into it stands in for Slicer's
installer, the PyTorch extension, and the network, none of which is tested here.
"""

import re
import subprocess
import sys
import types
from subprocess import CalledProcessError

import pytest
from slicers_packages import ALPHA, BETA, EXTRA, SLICERS_VERSIONS, TORCH, Slicer, User, put

from FlarePanCancerLib import installer
from FlarePanCancerLib.dependencies import DependencyError, describe, missing


@pytest.fixture
def old_slicer(slicer, monkeypatch) -> Slicer:
    """A Slicer before slicer.packaging."""
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    return slicer


def test_one_question_then_torch_by_its_extension_and_the_rest_by_slicers_installer(slicer):
    user = User()
    assert user.install(TORCH, ALPHA, BETA) is True
    assert user.asked == [describe([TORCH, ALPHA, BETA])]
    options = {
        "skip_packages": ["torch", "SimpleITK", "numpy"],
        "prompt_install": False,
        "prompt_restart": False,
        "requester": "FlarePanCancer",
    }
    assert slicer.calls == [
        ("installTorch", False, ">=2.4"),
        ("pip_ensure", ["flare-alpha>=1.5,<2"], options),
        ("pip_ensure", ["flare-beta>=0.4"], options),
    ]
    assert missing([TORCH, ALPHA, BETA]) == ()
    assert user.heard[0].startswith("Installing torch, torchvision, light-the-torch (1 of 3, ")
    assert user.heard[-1] == "Installed: torch, flare-alpha, flare-beta."


def test_an_older_slicer_installs_each_package_without_what_it_depends_on(old_slicer):
    assert User().install(ALPHA) is True
    assert old_slicer.calls == [("pip_install", ["--no-deps", "flare-alpha>=1.5,<2"], {})]


def test_nothing_is_asked_when_nothing_is_missing(slicer):
    user = User()
    assert user.install() is True
    assert (user.asked, slicer.calls) == ([], [])


def test_a_user_who_says_no_gets_nothing_installed(slicer):
    assert User(agrees=False).install(TORCH, ALPHA) is False
    assert slicer.calls == []


def test_cancelling_stops_before_the_next_package_and_says_what_is_there(slicer):
    user = User(patience=1)
    assert user.install(ALPHA, BETA) is False
    assert len(slicer.calls) == 1
    assert user.heard[-1] == (
        "Cancelled. Installed: flare-alpha. Still missing: flare-beta; trying again goes on from here."
    )
    assert User().install(*missing([ALPHA, BETA])) is True
    assert [call[1] for call in slicer.calls] == [["flare-alpha>=1.5,<2"], ["flare-beta>=0.4"]]


def test_pips_lines_are_heard_while_it_works_and_still_printed(slicer, capsys):
    slicer.prints = ["Collecting flare-alpha", "Downloading flare_alpha.whl (2 MB)"]
    user = User()
    user.install(ALPHA)
    assert user.heard[1:3] == slicer.prints
    assert capsys.readouterr().out.splitlines() == slicer.prints
    assert sys.stdout.__class__ is not installer._Tee


def test_a_listener_that_prints_does_not_hear_itself(slicer, capsys):
    slicer.prints = ["Collecting flare-alpha"]
    installer.install((ALPHA,), confirm=lambda text: True, progress=print, cancelled=lambda: False)
    assert capsys.readouterr().out.count("Collecting flare-alpha") == 2


def test_without_the_pytorch_extension_the_user_is_sent_to_it_before_any_question(slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    user = User()
    with pytest.raises(DependencyError, match=r"extension 'PyTorch'.*Extensions Manager, restart Slicer") as raised:
        user.install(TORCH, ALPHA)
    assert (user.asked, slicer.calls) == ([], [])
    assert "pip download" in raised.value.details


def test_users_of_a_slicer_for_intel_macs_learn_what_works_instead(slicer, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(DependencyError, match=r"Intel Macs.*flareseg segment"):
        User().install(TORCH)
    assert slicer.calls == []


def test_when_one_fails_the_others_are_accounted_for(slicer):
    slicer.fails["flare-beta"] = CalledProcessError(1, "pip")
    slicer.prints = ["Collecting it", "ERROR: no matching wheel for this Python", "ERROR: giving up"]
    with pytest.raises(DependencyError) as raised:
        User().install(ALPHA, BETA)
    assert str(raised.value) == (
        "flare-beta could not be installed (ERROR: no matching wheel for this Python); the commands under Details do "
        "it by hand. Installed: flare-alpha. Still missing: flare-beta; trying again goes on from here."
    )
    assert '"flare-beta>=0.4"' in raised.value.details and "flare-alpha" not in raised.value.details


def test_an_optional_package_that_fails_stops_nothing(slicer):
    slicer.fails["flare-extra"] = CalledProcessError(1, "pip")
    user = User()
    assert user.install(EXTRA, ALPHA) is True
    assert missing([ALPHA]) == ()
    assert any("flare-extra" in line and "works without it" in line for line in user.heard)


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full: free 6 MB"),
        ("ERROR: [WinError 5] Access is denied: 'C:\\Slicer\\torch'", "install Slicer where you may write"),
        ("ProxyError('Cannot connect to proxy.')", "Check the network and the proxy"),
    ],
)
def test_known_failures_say_what_to_do(slicer, line, advice):
    slicer.prints, slicer.fails = [line], {"flare-alpha": CalledProcessError(1, "pip")}
    with pytest.raises(DependencyError, match=re.escape(advice)) as raised:
        User().install(ALPHA)
    assert "\n" not in str(raised.value)


def test_a_package_in_use_that_cannot_be_replaced_asks_for_a_restart(slicer, monkeypatch):
    monkeypatch.setitem(sys.modules, "flare_alpha", types.ModuleType("flare_alpha"))
    slicer.fails["flare-alpha"] = PermissionError(13, "Permission denied")
    with pytest.raises(DependencyError, match="in use: restart Slicer"):
        User().install(ALPHA)


def test_a_torch_that_is_there_but_does_not_load_asks_for_a_restart(slicer, slicers_site):
    put(slicers_site, "torch", "2.9.0")
    slicer.fails["torch"] = ImportError("DLL load failed")
    with pytest.raises(
        DependencyError, match=r"torch was installed but does not work yet \(DLL load failed\): restart"
    ):
        User().install(TORCH)


def test_an_installer_that_does_nothing_is_noticed(slicer):
    del slicer.offers["flare-alpha"]
    with pytest.raises(DependencyError, match=r"not usable although.*--force-reinstall \"flare-alpha>=1.5,<2\""):
        User().install(ALPHA)


@pytest.mark.parametrize("ends", ["well", "badly"])
@pytest.mark.parametrize("package", ["numpy", "scipy", "SimpleITK", "torch"])
def test_a_package_of_slicers_own_that_was_replaced_is_reported_loudly(slicer, slicers_site, package, ends):
    put(slicers_site, "torch", "2.9.0+cu128")
    slicer.replaces[package] = "99.0"
    if ends == "badly":
        slicer.fails["flare-extra"] = CalledProcessError(1, "pip")
    old = SLICERS_VERSIONS.get(package, "2.9.0+cu128")
    with pytest.raises(DependencyError, match=rf"^WARNING: .*{package} {re.escape(old)} by 99.0") as raised:
        User().install(EXTRA, BETA)
    advice = {"SimpleITK": "install Slicer anew", "torch": "install PyTorch again in Slicer's module PyTorch Utils"}
    assert advice.get(package, f"pip install --no-deps {package}=={old}") in str(raised.value)
    assert len(slicer.calls) == 1


def test_what_pip_says_without_a_network_is_understood(slicer, tmp_path):
    """The real pip, which finds no index; its lines are printed as Slicer prints them."""

    def pip(requirements, **_):
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "0"]
        command += ["--index-url", "http://127.0.0.1:9/simple", "--target", str(tmp_path / "new"), *requirements]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(done.stdout)
        raise CalledProcessError(done.returncode, "pip")

    sys.modules["slicer.packaging"].pip_ensure = pip
    with pytest.raises(DependencyError, match="no package index that has it was reached") as raised:
        User().install(ALPHA)
    assert "Check the network and the proxy" in str(raised.value)
    assert '"flare-alpha>=1.5,<2"' in raised.value.details
