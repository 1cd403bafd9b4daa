"""The members of a combined model as they are needed: all loaded, or one at a time."""

from __future__ import annotations

import gc
from contextlib import nullcontext, suppress
from dataclasses import replace

import torch

from flareseg.errors import ModelError
from flareseg.inference.memory import release_gpu_memory
from flareseg.inference.one_model import OneModel
from flareseg.model.bundle import load_bundle
from flareseg.model.members import Members
from flareseg.options import Options

MOST_RESIDENT_BYTES = 200 * 10**6
"""Of all weights as they are stored: up to it every model stays loaded from case to case. Beyond it each is loaded when
its turn comes and in place of the one before, so that the memory is that of the largest."""


class OpenMembers:
    """Loads members by their number in `Combined.members`.

    Args:
        members: which.
        options: of the run. Each runs as it was imported, or without parity where the options say so.
    """

    def __init__(self, members: Members, options: Options) -> None:
        self._members, self._every = members, members.combined.members
        self._options = replace(options, parity=False if options.parity is False else None)
        self._keeps_all = members.weight_bytes() <= MOST_RESIDENT_BYTES
        self._open: dict[int, OneModel] = {}
        self._first = True
        # What cannot run is said before a CT is read; a model of lesions, where they are asked for: see `check`.
        organs = len(members.combined.organs)
        for number in range(len(self._every) if self._keeps_all else 1):
            with suppress(ModelError) if number >= organs else nullcontext():
                self.member(number)

    def check(self, number: int) -> None:
        """See that a member can be used; raises as `member`."""
        if self._keeps_all:
            self.member(number)
        else:
            self._members.description(self._every[number])

    def member(self, number: int) -> OneModel:
        """A member, ready to run. No caller may keep it beyond its use, as the next one needs its memory.

        Raises:
            ModelError: when it is missing, damaged, or another than it was.
        """
        if number not in self._open:
            if not self._keeps_all:
                self._let_go()
            member = self._every[number]
            self._members.description(member)
            bundle = load_bundle(self._members.folder(member))
            if number >= len(self._members.combined.organs):
                # It is shown a box in which there is no abdomen to be found.
                bundle = replace(bundle, plan=replace(bundle.plan, coarse=None), coarse_weights=None)
            self._open[number] = OneModel(bundle, self._options)
        return self._open[number]

    def _let_go(self) -> None:
        """Give the memory of what is loaded back."""
        if not self._open:
            return
        self._open.clear()
        if self._first:
            self._first = False
            # What torch could not import while it ran a network for the first time still refers to that network, in a
            # circle; later ones are freed without this, which takes a second.
            gc.collect()
        release_gpu_memory()

    @property
    def device(self) -> torch.device:
        """Where the model runs that was loaded last."""
        return self._last.device

    @property
    def device_description(self) -> str:
        """What the model runs on that was loaded last."""
        return self._last.description

    @property
    def _last(self) -> OneModel:
        return next(reversed(self._open.values()))
