"""Nets that a model takes from an embedded one, so that weights which several models need are shipped once.

model.json then has the entry "shares": the embedded model's name, and the SHA-256 of its weights file. All tensors that
the plan asks for and the model's own file lacks come from there.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flareseg.errors import ModelError
from flareseg.model.storage import WEIGHTS, open_model

EMBEDDED = Path(__file__).parent.parent / "models"
"""Where the models lie that come with flareseg."""


@dataclass(frozen=True)
class Shared:
    """Whose nets are used.

    Attributes:
        model: name of an embedded model.
        sha256: of its weights file.
    """

    model: str
    sha256: str

    def to_json(self) -> dict[str, str]:
        """The entry "shares"."""
        return asdict(self)

    def read(self, name: str, most_bytes: int) -> bytes:
        """Its weights file, checked.

        Args:
            name: of the model that shares it, for messages.
            most_bytes: that the file may have.

        Raises:
            ModelError: when the embedded model is not here, or another version of it.
        """
        try:
            with open_model(EMBEDDED / self.model) as files:
                data = files.read(WEIGHTS, most_bytes)
        except ModelError:
            data = None
        if data is None or hashlib.sha256(data).hexdigest() != self.sha256:
            raise ModelError(
                f"'{name}' was made for another version of the embedded model '{self.model}', whose nets it uses; "
                "get the version of it that belongs to this flareseg."
            )
        return data


def read_shared(entry: Any, name: str) -> Shared | None:
    """The entry "shares" of the model called `name`; None where there is none.

    Raises:
        ModelError: when it is damaged.
    """
    if entry is None:
        return None
    texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
    if texts and set(entry) == {"model", "sha256"}:
        shared = Shared(**entry)
        if shared.model.isalnum():  # it becomes a path
            return shared
    raise ModelError(f"The model.json of '{name}' needs 'shares' as an embedded model and a checksum.")
