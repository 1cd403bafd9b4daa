"""Check that the rounds of self-training of a configuration can be run, before anything is."""

from __future__ import annotations

import re

from flareseg.errors import UsageError
from flareseg.labels import TUMOUR
from train.config import Config
from train.pseudo_config import PseudoConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_rounds(config: Config) -> None:
    """Check the rounds, the last one (`pseudo`) among them, and the fits that learn from them.

    Raises:
        UsageError: in one line.
    """
    for name in config.rounds:
        if not _NAME.fullmatch(name):
            raise UsageError(f"rounds: {name!r} is no name; give one of letters, digits, - and _.")
        if not config.learning_from(name):
            raise UsageError(f"rounds: no fit learns from '{name}'; a fit does with labels: fused and round: {name}.")
        _check_settings(config, config.rounds[name], f"rounds: {name}")
    _check_settings(config, config.pseudo, "pseudo")
    for name, fit in config.fits.items():
        where = f"fits: {name}"
        if fit.round and fit.labels != "fused":
            raise UsageError(f"{where}: it has a round, so its labels are fused.")
        if fit.round and fit.round not in config.rounds:
            raise UsageError(f"{where}: there is no round '{fit.round}' in rounds.")
        if fit.stage == "rounds" and not fit.round:
            raise UsageError(f"{where}: the stage 'rounds' is for fits with a round.")
    for name in config.fits:
        _check_descent(config, name, ())


def _check_settings(config: Config, settings: PseudoConfig, where: str) -> None:
    for name in filter(None, (*settings.nets("tumour"), settings.coarse)):
        if name not in config.fits:
            raise UsageError(f"There is no fit '{name}' in fits.")
    for name in settings.nets("tumour"):
        if TUMOUR not in config.net_of(name).names:
            raise UsageError(f"{where}: the net of the fit '{name}' does not segment tumours.")
    for kind in ("tumour", "organs"):
        nets = settings.nets(kind)
        if len(set(nets)) < len(nets) or "" in nets:
            raise UsageError(f"{where}: each of several nets for {kind} needs a name of its own.")
    if not 0.5 < settings.agreement <= 1:
        raise UsageError(f"{where}: agreement is a share of the nets, more than 0.5 and at most 1.")
    if not (0 <= settings.least_agreement <= 1 and 0 <= settings.least_confidence <= 1):
        raise UsageError(f"{where}: least_agreement and least_confidence are numbers from 0 to 1.")
    if settings.largest_instability is not None and not settings.largest_instability >= 0:
        raise UsageError(f"{where}: largest_instability is a number from 0 up.")


def _check_descent(config: Config, name: str, line: tuple[str, ...]) -> None:
    """That no fit learns, over however many others, from itself."""
    if name in line:
        way = " ← ".join((*line[line.index(name) :], name))
        raise UsageError(f"fits: {name}: it would learn from itself ({way}).")
    for other in config.parents(name):
        _check_descent(config, other, (*line, name))
