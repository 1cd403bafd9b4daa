"""Layouts in which others publish their models, from a server to one of the user's models."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest

from flareseg.model.bundle import load_bundle
from flareseg.model.catalogue import models_folder

sys.path.insert(0, str(Path(__file__).parent))
from file_server import Served
from public_replicas import Write, decathlon_zip, entry, get, provenance, totalsegmentator_zip

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.mark.parametrize(
    ("configuration", "folder"),
    [
        ("3d_fullres_high", "Dataset591_ct_liver_lesions_842subj/nnUNetTrainer__nnUNetPlans__{}"),
        ("3d_lowres", "nnUNetTrainerNoMirroring__nnUNetPlans__{}"),
    ],
)
def test_layouts_in_which_others_publish_are_read(
    server: Served, write_catalogue: Write, configuration: str, folder: str
) -> None:
    server.data = totalsegmentator_zip(configuration, folder)
    write_catalogue(entry(server.address))
    assert get("replica", "--yes", "--progress", "none") == 0
    assert provenance()["configuration"] == configuration


def test_of_several_nets_in_a_zip_the_entry_names_the_right_one(server: Served, write_catalogue: Write) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for configuration in ("3d_fullres", "3d_lowres"):
            with zipfile.ZipFile(io.BytesIO(totalsegmentator_zip(configuration))) as one:
                for info in one.infolist():
                    archive.writestr(info.filename, one.read(info))
    server.data = packed.getvalue()
    write_catalogue(entry(server.address, configuration="3d_lowres", folds=["0"], axes="stored"))
    assert get("replica", "--yes", "--progress", "none") == 0
    assert provenance()["configuration"] == "3d_lowres"
    assert load_bundle(models_folder() / "replica").plan.orientation == "stored"


def test_a_net_of_version_1_gets_the_names_of_the_catalogue(server: Served, write_catalogue: Write) -> None:
    server.data = decathlon_zip()
    row = entry(
        server.address,
        structures=["pancreas", "cancer"],
        terms="unread",
        licence="see the record at https://example.org/replica",
        layout="nnunet-v1",
        axes="stored",
        configuration="3d_fullres",
    )
    write_catalogue(row)
    assert get("replica", "--yes", "--accept-licence", "--progress", "none") == 0
    plan = load_bundle(models_folder() / "replica").plan
    assert (plan.labels, plan.orientation) == ({0: "background", 1: "pancreas", 2: "tumour"}, "stored")
    assert provenance()["licence"] == row["licence"] and provenance()["catalogue"] == "replica"


def test_our_own_models_can_be_published_too(
    server: Served, write_catalogue: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write_catalogue(entry(server.address))
    assert get("replica", "--yes") == 0
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in (models_folder() / "replica").iterdir():
            archive.write(file, file.name)
    server.data = packed.getvalue()
    write_catalogue(entry(server.address.replace("model", "own"), layout="flareseg", axes=None))
    assert get("replica", "--yes", "--overwrite") == 0
    assert [path.name for path in models_folder().iterdir()] == ["replica"]
    capsys.readouterr()
    assert get("replica") == 0 and "is installed" in capsys.readouterr().out


# Asking
