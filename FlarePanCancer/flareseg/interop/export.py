"""A model for other programs: `flareseg models export`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from flareseg.errors import OutputError
from flareseg.interop.monai.bundle import write_monai_bundle
from flareseg.interop.nnunet.exporter import write_nnunet
from flareseg.interop.onnx_file import write_onnx
from flareseg.interop.source import Net, Source, load_source
from flareseg.io.atomic import atomic_folder
from flareseg.model.storage import CARD

Writer = Callable[[Source, Path], None]
WRITERS: dict[str, Writer] = {"nnunet": write_nnunet, "onnx": write_onnx, "monai-bundle": write_monai_bundle}
FACTS = "flareseg.json"
"""Where an exported model comes from. It also tells a folder that may be replaced from one that may not."""


def export_model(
    model: str | Path, kind: str, *, net: Net = "main", folder: Path | None = None, overwrite: bool = False
) -> Path:
    """Write one net of a model for another program, as a whole folder or not at all.

    Beside the other program's files, the folder holds the model card, and where the model comes from (flareseg.json).

    Args:
        model: name or folder of a flareseg model.
        kind: a key of `WRITERS`.
        net: the one that gives the labels, or the one that finds the region first.
        folder: what to write; NAME_KIND in the current folder unless given.
        overwrite: replace an earlier export.

    Returns:
        the folder.

    Raises:
        ModelError: when there is no such model or net, or the format cannot hold it.
        OutputError: when the folder exists and may not be replaced, or cannot be written.
        UsageError: when a package that the format needs is not installed.
    """
    source = load_source(model, net)
    folder = folder or _default_folder(source, kind)
    if overwrite:
        _check_replaceable(folder)
    with atomic_folder(folder, overwrite=overwrite) as scratch:
        WRITERS[kind](source, scratch)
        (scratch / CARD).write_text(source.card, encoding="utf-8")
        facts = {"exported_as": kind, **source.facts()}
        (scratch / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def _default_folder(source: Source, kind: str) -> Path:
    # The name is a foreign text, and must not lead to another place.
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", source.name).strip("._") or "model"
    return Path("_".join([name, *([source.net] if source.net != "main" else []), kind]))


def _check_replaceable(folder: Path) -> None:
    """A mistyped name must not cost anybody a folder of other things."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / FACTS).is_file():
        raise OutputError(f"'{folder}' is no earlier export (it has no {FACTS}) and stays; choose another name.")
