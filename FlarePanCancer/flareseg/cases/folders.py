"""The CTs in a folder of cases: image files and DICOM folders, at any depth, and nothing that is plainly no CT.

Files are classified by name only, so that a data set of thousands of cases is searched in seconds:

- Beside images called ct, image, imaging, volume or the like, other images are left out (label maps, PET, masks);
  likewise "x_seg" beside "x", and folders called labels, masks, segmentations or the like.
- Results of flareseg are never CTs: .seg.nrrd, NAME_flareseg, and what a manifest in the folder lists.
- A folder with DICOM in it, or below it without any image file, is one case. Folders side by side that share a series
  are one case.
- A zip of DICOM is one case, and a DICOMDIR with all that lies beside and below it.
"""

# os.path answers also about names for which pathlib raises errors, such as too long ones.
# ruff: noqa: PTH100, PTH114, PTH116

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flareseg.cases.last_lines import listed_results
from flareseg.cases.names import Found
from flareseg.cases.series import group_by_series
from flareseg.io.files import (
    CHANNEL,
    IMAGE_ENDINGS,
    NAMELESS,
    RESULT_ENDINGS,
    case_name,
    ending_of,
    is_result,
)
from flareseg.text import shown, words

MOST_TOLD = 5
_CT_WORDS = words("ct ctscan scan image images imaging img volume vol")
_LABEL_FOLDERS = words(
    "seg segs segmentation segmentations label labels labelmap labelmaps labelstr labelsts labelsva mask masks dseg "
    "annotation annotations gt groundtruth prediction predictions pseudolabel pseudolabels"
)
_LABEL_WORDS = _LABEL_FOLDERS | words("lesion lesions tumor tumors tumour tumours organ organs truth roi")
_NO_CT_ENDINGS = words(
    ".txt .md .rst .json .jsonl .csv .tsv .xls .xlsx .xml .html .htm .css .js .pdf .doc .docx .ppt .pptx .rtf .odt "
    ".png .jpg .jpeg .gif .bmp .tif .tiff .svg .webp .mp4 .avi .py .ipynb .sh .bat .m .r .yml .yaml .toml .ini .cfg "
    ".log .db .lnk .url .bib .tex .exe .dll .inf .sha256 .md5 .bval .bvec .pkl .npy .npz .pth .pt"
)
_NO_CT_NAMES = words(
    "license licence readme changelog notice copying authors citation dicomdir makefile version manifest lockfile "
    "autorun checksums md5sums sha256sums"
)
_NO_CT_FOLDERS = frozenset({
    "__macosx", "__pycache__", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle",
    "#snapshot",
})  # fmt: skip
"""Of systems, and of network drives."""


@dataclass
class Folder:
    """The contents of a folder, classified by name only.

    Attributes:
        path: where it is.
        parts: names of the folders down to it from the one that is searched.
        images: files that may be CTs.
        others: files that may be DICOM.
        containers: zips and a DICOMDIR.
        folders: those in it.
        broken: links whose target is gone.
        problem: why it cannot be read.
        dicom: whether DICOM slices lie directly in it.
        dicomdir: the list of all DICOM in it and below, where there is one.
        has_images, has_dicom: in it or below.
    """

    path: Path
    parts: tuple[str, ...] = ()
    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    containers: list[Path] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    problem: str = ""
    dicom: bool = False
    dicomdir: Path | None = None
    has_images: bool = False
    has_dicom: bool = False
    is_empty: bool = True


def search(root: Path) -> tuple[list[Found], list[str], list[Path]]:
    """The CTs in and below `root`, notes on what was left out, and the folders in which image files lie.

    A folder or link that cannot be read becomes a case with a problem, which is reported when its turn comes.
    """
    notes: list[str] = []
    folders = _walk(root, notes)
    left_out: Counter[str] = Counter()
    for folder in reversed(folders):  # those below come first
        _look(folder, left_out, is_root=folder is folders[0])
    if left_out:
        names = [f"'{shown(name)}'" + (f" ({n} times)" if n > 1 else "") for name, n in left_out.most_common(MOST_TOLD)]
        more = f" and {len(left_out) - MOST_TOLD} other names" if len(left_out) > MOST_TOLD else ""
        notes.append(f"In '{shown(root)}' these were left out, as no CTs by their names: {', '.join(names)}{more}.")
    return _cases(folders[0]), notes, [folder.path for folder in folders if folder.images]


def _walk(root: Path, notes: list[str]) -> list[Folder]:
    """`root` and the folders below it, each before what it holds. Without recursion: folders may be very deep."""
    first = Folder(root)
    result, waiting = [], [first]
    seen: set[Hashable] = set()
    while waiting:
        folder = waiting.pop()
        try:
            place = os.stat(folder.path)
            if (place.st_dev, place.st_ino) in seen:
                notes.append(f"'{shown(folder.path)}' is a link to a folder that is looked through anyway.")
                continue
            seen.add((place.st_dev, place.st_ino))
            with os.scandir(folder.path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                _sort_in(folder, entry)
        except OSError as error:
            folder.problem = f"The folder '{shown(folder.path)}' cannot be read: {error.strerror or error}."
        result.append(folder)
        # Links last, so that what they lead to is found under its own name.
        waiting += sorted(folder.folders, key=lambda child: (os.path.islink(child.path), child.path.name), reverse=True)
    kept = {id(folder) for folder in result}
    for folder in result:
        folder.folders = [child for child in folder.folders if id(child) in kept]
    return result


def _sort_in(folder: Folder, entry: os.DirEntry[str]) -> None:
    path, name = Path(entry.path), entry.name
    if name.startswith("."):
        return
    folder.is_empty = False
    try:
        is_dir, is_file = entry.is_dir(), entry.is_file()
    except OSError:  # a link that leads to itself
        is_dir = is_file = False
    if is_dir:
        if name.lower() not in _NO_CT_FOLDERS:
            folder.folders.append(Folder(path, (*folder.parts, name)))
    elif ending_of(name) in (*IMAGE_ENDINGS, *RESULT_ENDINGS):
        (folder.images if is_file else folder.broken).append(path)
    elif is_file and (name.lower().endswith(".zip") or name.upper() == "DICOMDIR"):
        folder.containers.append(path)
    elif not _is_no_ct(name) and (is_file or entry.is_symlink()):
        (folder.others if is_file else folder.broken).append(path)


def _is_no_ct(name: str) -> bool:
    stem, dot, ending = name.lower().rpartition(".")
    return f"{dot}{ending}" in _NO_CT_ENDINGS if stem else (stem or ending) in _NO_CT_NAMES


def _look(folder: Folder, left_out: Counter[str], is_root: bool) -> None:
    """Find what of a folder is a CT; the folders below have been looked at."""
    title = set(_words(folder.path.name))
    filled = bool(folder.images) or any(child.has_images for child in folder.folders)
    if filled and title and title <= _LABEL_FOLDERS and not is_root:
        left_out[folder.path.name] += 1
        folder.images, folder.others, folder.folders, folder.broken, folder.containers = [], [], [], [], []
    alone = not folder.images and not any(child.has_images or child.has_dicom for child in folder.folders)
    results = listed_results(folder.path) if folder.images or folder.others else frozenset()
    folder.others = [path for path in folder.others if path.name not in results and not is_result(path)]
    # Among images and folders of cases, a file counts as DICOM only if it is; elsewhere, damaged ones are reported.
    folder.dicom = bool(folder.others) and (alone or _any_is_dicom(folder.others))
    headers = {path.name.lower() for path in folder.images}
    images = [
        path
        for path in folder.images
        if path.name not in results and not is_result(path) and not _has_header(path, headers)
    ]
    folder.images = _choose(images, folder.dicom, left_out)
    _look_at_containers(folder, alone and not folder.others, is_root)
    below = folder.folders
    folder.has_images = bool(folder.images) or any(child.has_images for child in below)
    unknown = bool(folder.problem or folder.broken) or (folder.is_empty and not is_root)
    folder.has_dicom = folder.dicom or folder.dicomdir is not None or unknown or any(child.has_dicom for child in below)


def _look_at_containers(folder: Folder, alone: bool, is_root: bool) -> None:
    """Find the zips that are cases of their own, and the DICOMDIR that stands for its folder.

    That of the folder of cases itself lists all of them, and none.
    """
    if not folder.containers:
        return
    from flareseg.io.dicom import is_dicomdir, zip_holds_images
    from flareseg.io.dicom.headers import beginning_of, is_dicom

    for path in folder.containers:
        if is_dicomdir(path):
            # A damaged one is no help; its folder can be read without it.
            folder.dicomdir = path if is_dicom(beginning_of(path)) and not is_root else None
        elif (holds := zip_holds_images(path)) or (holds is None and alone):
            folder.images.append(path)


def _has_header(path: Path, names: set[str]) -> bool:
    """Whether it is the data of a pair of header and image, of which the header is the case."""
    stem, dot, _ = path.name.lower().removesuffix(".gz").rpartition(".img")
    return bool(dot) and f"{stem}.hdr" in names


def _any_is_dicom(files: Iterable[Path]) -> bool:
    from flareseg.io.dicom import read_header
    from flareseg.io.dicom.values import text

    headers = map(read_header, files)
    return any(header is not None and "Rows" in header and text(header, "Modality") != "SEG" for header in headers)


def _choose(images: list[Path], beside_dicom: bool, left_out: Counter[str]) -> list[Path]:
    """Of the images in one folder, those that are CTs by their names."""
    stems = {path: case_name(path).removesuffix(CHANNEL).lower() for path in images}
    labels = {path for path in images if _LABEL_WORDS & set(_words(stems[path]))}
    cts = [path for path in images if path not in labels and (_words(stems[path]) or [""])[0] in _CT_WORDS]
    if cts:
        chosen = cts
    elif beside_dicom:
        chosen = [path for path in images if path not in labels]
    else:
        names = {_without_labels(stem) for path, stem in stems.items() if path not in labels}
        chosen = [path for path in images if path not in labels or _without_labels(stems[path]) not in names]
    left_out.update(path.name for path in images if path not in chosen)
    return chosen


def _words(text: str) -> list[str]:
    """Its words in lower case: "CT_seg2" is ct and seg."""
    return re.findall(r"[a-z]+", text.lower())


def _without_labels(stem: str) -> tuple[str, ...]:
    """What is left of "p1_seg" and "p1" alike."""
    return tuple(word for word in re.findall(r"[a-z]+|[0-9]+|[^a-z0-9_\-. ]+", stem) if word not in _LABEL_WORDS)


def _cases(root: Folder) -> list[Found]:
    name = Path(os.path.abspath(root.path)).name or NAMELESS
    children = [folder for folder in root.folders if folder.has_dicom]
    if root.problem or (root.is_empty and not root.folders):
        problem = root.problem or f"The folder '{shown(root.path)}' is empty."
        return [Found(root.path, (name,), problem=problem, is_file=False)]
    if not root.has_images and not root.broken and (root.dicom or len(children) < 2):
        return [Found(root.path, (name,), is_file=False)]
    result: list[Found] = []
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        parts = folder.parts
        for path in folder.images:
            result.append(Found(path, parts, alone=len(folder.images) == 1))
        for path in folder.broken:
            problem = f"'{shown(path)}' is a link to what is not there, or no file at all."
            result.append(Found(path, parts, alone=not folder.images, problem=problem))
        if folder.dicom or folder.dicomdir:
            result.append(Found(folder.dicomdir or folder.path, parts or (name,), is_file=False))
        else:
            result += _dicom_cases(folder, name)
        waiting += reversed([child for child in folder.folders if child.has_images])
    return sorted(result, key=lambda one: one.source.parts)


def _dicom_cases(folder: Folder, name: str) -> list[Found]:
    """The DICOM folders right below `folder`."""
    children = {child.path: child for child in folder.folders if child.has_dicom and not child.has_images}
    result = []
    for group in group_by_series(list(children)):
        first = children[group.folders[0]]
        if len(group.folders) > 1:
            series = group.series if len(group.folders) < len(children) else None
            result.append(Found(folder.path, folder.parts or (name,), series=series, is_file=False))
        else:
            result.append(Found(first.dicomdir or first.path, first.parts, problem=first.problem, is_file=False))
    return result
