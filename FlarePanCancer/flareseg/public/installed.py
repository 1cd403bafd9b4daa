"""Which of the user's models are of the catalogue: their provenance says so, not their names."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from flareseg.errors import FlareError, ModelError
from flareseg.model.archive import is_plain_file
from flareseg.model.bundle import read_description
from flareseg.model.catalogue import DAMAGED, Entry, find_installed, list_models
from flareseg.model.combined import read_combined
from flareseg.model.members import sha256_of
from flareseg.model.storage import weights_file
from flareseg.public import digests
from flareseg.public.entries import PublicModel

IN_CATALOGUE = "catalogue"
"""What the provenance of an installed model calls the name of its entry."""


class Installed:
    """The user's models as they are now.

    Args:
        thorough: read weights too, to see whether they are damaged; else they only have to be there.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self._thorough = thorough
        self._yours = {model.name: model for model in list_models() if model.origin == "yours"}
        self._entries = {name: _entry_of(model) for name, model in self._yours.items()}

    def of(self, entry: PublicModel) -> list[str]:
        """What the user's models of `entry` are called that can run."""
        found = [name for name, of in self._entries.items() if of == entry.name and self.runs(name)]
        if not found and entry.layout == "flareseg" and self._entries.get(entry.name, "") is None:
            # One of our own is copied as it is, so that nothing in it tells where it comes from.
            found = [entry.name] if self.runs(entry.name) else []
        return found

    def entry_name(self, model: str) -> str | None:
        """The name of the entry that a model says it is of; None where it says nothing."""
        return self._entries.get(model)

    def may_be(self, model: str, entry: str) -> bool:
        """Whether the model called `model` is the entry or embedded model `entry`, or may have been it, but is lost."""
        return entry in (model, self._entries.get(model)) or not self.runs(model)

    def own(self, name: str) -> Entry | None:
        """The user's model called `name`, whatever it is, and in whatever case."""
        return {one.casefold(): model for one, model in self._yours.items()}.get(name.casefold())

    def runs(self, name: str) -> bool:
        """Whether a model is there with all its files, and those of the models that it is put together of."""
        folder = find_installed(name)
        model = self._yours.get(name)
        if folder is None or (model and model.version == DAMAGED):
            return False
        try:
            if combined := read_combined(folder):
                return all(self.runs(member.model) for member in combined.members)
            expected = sha256_of(read_description(folder))
        except FlareError:
            return False
        files = {folder / weights_file(number): digest for number, digest in enumerate(expected)}
        return all(
            is_plain_file(file) and (not self._thorough or _digest(file, file.stat().st_mtime_ns) == digest)
            for file, digest in files.items()
        )

    def check_free(self, entry: PublicModel) -> None:
        """See that no model stands where one of `entry` would get its name.

        Raises:
            ModelError: saying what stands there.
        """
        model = self.own(entry.name)
        if model is None:
            return
        if not self.runs(model.name):
            raise ModelError(f"The model '{model.name}' is there, but damaged; add --overwrite to get it anew.")
        raise ModelError(
            f"One of your models is called '{model.name}', and is not the public model of that name; get this one with "
            f"--name OTHER, or first: flareseg models remove {model.name}."
        )


def _entry_of(model: Entry) -> str | None:
    try:
        name = read_description(model.folder).info["provenance"].get(IN_CATALOGUE)
    except FlareError:
        return None
    return name if isinstance(name, str) else None


@lru_cache(maxsize=256)
def _digest(file: Path, changed_ns: int) -> str | None:
    """Of a file as it was at that time: one command asks several times."""
    try:
        return digests.sha256_of(file, lambda: False)
    except OSError:
        return None
