"""Folders as people have them, and worse: many levels, odd names, links in circles, files that are none."""

from __future__ import annotations

from random import Random

from mutate import DEVICES
from seeds_dicom import dicom_seeds
from seeds_images import nifti_seeds
from tree import Node, Special, Tree

NAMES = [
    *(
        "a",
        "A",
        "ct",
        "CT",
        "patient 1",
        "=1+1",
        "@SUM(A1)",
        "-o",
        "--help",
        "+x",
        "CON",
        "nul",
        "x.",
        " x",
        "x ",
        "é",
        "e\u0301",
    ),
    *(
        "\u202etxt",
        "a\nb",
        "a\rb",
        "\x1b[2Jx",
        "\udcff\udcfe",
        "日本",
        ".hidden",
        "~",
        "%s",
        "${HOME}",
        "a;b",
        "a\\b",
        "'q\"",
    ),
    *(
        "x" * 250,
        "..x",
        "_flareseg",
        "DICOMDIR",
        "a,b",
        "a\tb",
        "\u200b",
        "ct.nii",
        "ct.nii.gz.nii.gz",
        ".nii.gz",
        "ct.NII.GZ",
    ),
]
ENDINGS = ["", ".nii.gz", ".nii", ".nrrd", ".mha", ".txt", ".dcm", ".seg.nrrd", ".csv", ".zip"]


def odd_tree(rng: Random) -> Tree:
    """Up to twenty files in folders of odd names."""
    contents: list[Node] = [
        *(b"", b"text", nifti_seeds()["nii"].bytes_of("ct.nii"), dicom_seeds()["one file"].bytes_of("IM002")),
        *(Special("folder"), Special("fifo"), Special("socket"), Special("link", "."), Special("link", "nowhere")),
        *(Special("link", target) for target in DEVICES),
    ]
    folders = [""]
    files: dict[str, Node] = {}
    for _ in range(rng.choice((0, 1, 2, 5, 20))):
        if rng.random() < 0.4:
            folders.append(rng.choice(folders) + rng.choice(NAMES) + "/")
        node = rng.choice(contents[:4] if rng.random() < 0.7 else contents)
        files[rng.choice(folders) + rng.choice(NAMES) + rng.choice(ENDINGS)] = node
    if rng.random() < 0.05:
        files["d/" * rng.choice((40, 300, 1500)) + "ct.nii"] = b""
    tree = Tree(files, changes=["odd tree"])
    if files and rng.random() < 0.3:
        tree.main = rng.choice(sorted(files))
    return tree
