"""`flareseg models check`: which way the body has to lie for a model, as a table and in one sentence."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from flareseg.interop.axes_check import AxesCheck, check_axes
from flareseg.interop.nnunet.axes import NAMES, Axes
from flareseg.labels import by_name
from flareseg.model.turning import turn_model
from flareseg.reading.reader import CaseReader
from flareseg.system.interrupt import run_until_signal
from flareseg.system.streams import print_line, print_text


def check_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg models check`; returns its exit status: 0 where the model is certainly used as it wants, else 1."""

    def work(cancelled: Callable[[], bool]) -> int:
        with CaseReader() as reader:
            volume = reader.read(arguments.input, force=False, cancelled=cancelled)
        found = check_axes(arguments.model, volume, _show_progress, cancelled)
        _show_progress(1, 0)
        fixed = arguments.fix and not found.fits and found.fitting_rule is not None
        if fixed and found.fitting_rule:
            axes = Axes(found.fitting_rule, f"found with models check on '{volume.name}'")
            turn_model(arguments.model, found.fitting_rule, str(axes))
        verdict = _fixed(found) if fixed else verdict_of(found)
        if arguments.json:
            print_line(json.dumps(_as_data(found) | {"fixed": bool(fixed), "verdict": verdict}), sys.stdout)
        else:
            print_text(f"{table_of(found)}\n\n{verdict}", sys.stdout)
        return 0 if found.fits or fixed else 1

    return run_until_signal(work)


def table_of(found: AxesCheck) -> str:
    """DSC with the embedded model, one line a view."""
    organs = list(found.best.dsc)
    titles = [by_name(name).title for name in organs]
    now = found.view_of(found.rule)
    lines = ["  ".join([f"{'axes':<5}", "mean DSC", *titles])]
    for score in found.scores:
        values = [f"{score.dsc[name]:>{len(title)}.3f}" for name, title in zip(organs, titles, strict=True)]
        marks = [text for text, is_so in (("best", score == found.best), ("now", score.view == now)) if is_so]
        lines.append("  ".join([f"{score.view.name:<5}", f"{score.mean:8.3f}", *values, ", ".join(marks)]).rstrip())
    return "\n".join(lines)


def verdict_of(found: AxesCheck) -> str:
    """One sentence: whether the model is used as it wants, and what to do otherwise."""
    best, rule = found.best, found.fitting_rule
    if not found.finds_organs:
        return (
            f"Nothing fits: even {best.view.name} gives a mean DSC of {best.mean:.2f} with the embedded model, so the "
            "axes cannot be told from this CT and this model."
        )
    if not found.decides:
        return _undecided(found)
    if found.fits:
        view = found.view_of(found.rule)
        held = "" if found.rule != "stored" else ", for CTs that are stored like this one"
        return f"It fits: '{found.model}' has {view.name if view else '?'}{held}; nothing is to be changed."
    if rule is None:
        return (
            f"'{found.model}' wants {best.view.name}, which --axes cannot say (lps, ras or stored); "
            "ask whoever made it how its images were turned."
        )
    now = found.view_of(found.rule)
    has = now.name if now else "its axes in another order"
    return (
        f"'{found.model}' wants {best.view.name}, and has {has} now; change it with --fix, or import it again: "
        f"flareseg models import FOLDER --axes {NAMES[rule]} --name {found.model} --overwrite"
    )


def _undecided(found: AxesCheck) -> str:
    """Why nothing is known, and what would help."""
    if not found.draws_kidneys:
        return (
            f"Cannot be decided: '{found.model}' does not draw both kidneys, without which left and right cannot be "
            "told apart; ask whoever made it how its images were turned."
        )
    if not found.has_both_kidneys:
        return "This CT cannot decide it: both kidneys are needed to tell left from right; take a CT that shows both."
    second = sorted(found.scores, key=lambda score: score.mean)[-2]
    return (
        f"This CT cannot decide it: {found.best.view.name} ({found.best.mean:.2f}) and {second.view.name} "
        f"({second.mean:.2f}) fit as well; take another CT with both kidneys (a net that learnt from mirrored images "
        "may fit several ways on every CT, and then either will do)."
    )


def _fixed(found: AxesCheck) -> str:
    assert found.fitting_rule
    return f"Changed: '{found.model}' has {found.best.view.name} from now on (--axes {NAMES[found.fitting_rule]})."


def _as_data(found: AxesCheck) -> dict[str, Any]:
    now = found.view_of(found.rule)
    return {
        "model": found.model,
        "axes": NAMES[found.rule],
        "now": now.name if now else None,
        "best": found.best.view.name,
        "fits": found.fits,
        "decided": found.finds_organs and found.decides,
        "fitting_axes": NAMES[found.fitting_rule] if found.fitting_rule else None,
        "views": {
            s.view.name: {"mean": round(s.mean, 4)} | {k: round(v, 4) for k, v in s.dsc.items()} for s in found.scores
        },
    }


def _show_progress(done: int, of: int) -> None:
    """One line that changes, for people who wait; none where nobody looks. `of` 0 takes it away."""
    stream = sys.stderr
    if stream is not None and stream.isatty():
        stream.write(f"\rtrying {done + 1} of {of} ways" if of else "\r\x1b[K")
        stream.flush()
