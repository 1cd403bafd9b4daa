"""Another way for the body to lie before a model's net, once that is known: model.json alone changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from flareseg.errors import ModelError
from flareseg.io.atomic import atomic_path
from flareseg.model.bundle import LARGEST_JSON_BYTES, read_description
from flareseg.model.catalogue import list_models
from flareseg.model.plan import OrientationRule
from flareseg.model.storage import JSON, open_model


def turn_model(name: str, rule: OrientationRule, why: str) -> Path:
    """Change `Plan.orientation` of one of the user's models, whole or not at all; returns its folder.

    Args:
        name: of the model.
        rule: for its main net, and for that of tumours.
        why: is kept with the model's provenance, as "axes".

    Raises:
        ModelError: when it is none of the user's, or damaged.
        OutputError: when it cannot be written.
    """
    found = {entry.name: entry for entry in list_models()}.get(name)
    if found is None or found.origin != "yours":
        raise ModelError(f"'{name}' is none of your own models, which alone can be changed; import it first.")
    plan = read_description(found.folder).plan
    tumour = replace(plan.tumour, orientation=rule) if plan.tumour else None
    plan = replace(plan, orientation=rule, tumour=tumour)
    with open_model(found.folder) as files:
        data = json.loads(files.read(JSON, LARGEST_JSON_BYTES) or b"{}")
    data["plan"] = plan.to_json()
    data["format"] = max(data["format"], plan.needs_format)
    data["provenance"] = {**data.get("provenance", {}), "axes": why}
    with atomic_path(found.folder / JSON, overwrite=True) as temporary:
        temporary.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return found.folder
