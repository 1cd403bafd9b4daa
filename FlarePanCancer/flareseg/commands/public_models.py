"""`flareseg models available` and `flareseg models get`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict

from flareseg.commands.download_console import BarFollower, GetListener, JsonFollower, SilentFollower
from flareseg.errors import FlareError, UsageError
from flareseg.model.catalogue import models_folder
from flareseg.progress import AVAILABLE
from flareseg.public.entries import PublicModel, find_public, read_catalogue
from flareseg.public.get import Request, check_place, get_model
from flareseg.public.installed import Installed
from flareseg.public.presets import (
    PresetRequest,
    check_preset,
    get_preset,
    missing_members,
    preset_runs,
    read_presets,
)
from flareseg.system.interrupt import end_when, run_until_signal
from flareseg.system.streams import print_line
from flareseg.text import as_json, one_line

FEW = 4
"""Structures that are named in the list rather than counted."""
INSTALLED = "  installed"
TERMS = {"open": "", "non-commercial": " (non-commercial)", "unread": ""}


def available_command(arguments: argparse.Namespace) -> int:
    """Print the catalogue; returns the exit status."""
    entries = read_catalogue(arguments.catalogue)
    presets = read_presets(entries, arguments.catalogue)
    installed = Installed()
    if arguments.json:
        rows = [asdict(entry) | {"installed": installed.of(entry)} for entry in entries]
        others = [
            asdict(preset) | {"installed": [preset.name] if preset_runs(preset, installed) else []}
            for preset in presets
        ]
        print_line(as_json({"event": AVAILABLE, "models": rows, "presets": others}), sys.stdout)
        return 0
    print_line(f"{'NAME':<31} {'STRUCTURES':>10}  {'LICENCE':<29} {'SIZE':>8}", sys.stdout)
    for entry in entries:
        state = INSTALLED if installed.of(entry) else ""
        row = f"{entry.name:<31} {len(entry.structures):>10}  {_licence(entry):<29} {_size(entry):>8}{state}"
        print_line(row, sys.stdout)
        few = f" ({', '.join(entry.structures)})" if len(entry.structures) <= FEW else ""
        print_line(f"    {entry.title}{few}", sys.stdout)
    if presets:
        print_line("", sys.stdout)
        print_line("Several of them put together as one model; members at hand are not downloaded again:", sys.stdout)
    for preset in presets:
        state = INSTALLED if preset_runs(preset, installed) else ""
        print_line(f"{preset.name:<31} {' + '.join(preset.members)}{state}", sys.stdout)
        print_line(f"    {preset.title}", sys.stdout)
    print_line("Get one with: flareseg models get NAME", sys.stdout)
    return 0


def get_command(arguments: argparse.Namespace) -> int:
    """Run `flareseg models get`; returns its exit status."""
    kinds: dict[str, Callable[[str], GetListener]] = {
        "bar": BarFollower,
        "json": JsonFollower,
        "none": SilentFollower,
    }
    listener = kinds[arguments.progress](arguments.model)

    def work(cancelled: Callable[[], bool]) -> int:
        if arguments.progress == "json":
            from flareseg.system.listening import listener_left

            end_when(listener_left())
        try:
            return _get(arguments, listener, cancelled)
        except FlareError as error:
            if arguments.debug:
                raise
            listener.error(str(error))
            return error.exit_status

    return run_until_signal(work)


def _get(arguments: argparse.Namespace, listener: GetListener, cancelled: Callable[[], bool]) -> int:
    entries = read_catalogue(arguments.catalogue)
    presets = read_presets(entries, arguments.catalogue)
    preset = next((one for one in presets if one.name == arguments.model), None)
    entry = find_public(arguments.model, entries) if preset is None else None
    if preset is not None and arguments.file is not None:
        raise UsageError(f"'{preset.name}' is several models, --from takes one of them: {', '.join(preset.members)}.")
    installed = Installed(thorough=True)
    if preset is not None:
        already = [preset.name] if preset_runs(preset, installed) else []
    else:
        already = installed.of(entry) if entry else []
    if already and not arguments.overwrite and arguments.name in (None, *already):
        name = arguments.name or already[0]
        listener.installed(name, str(models_folder() / name))
        return 0
    options = arguments.name, arguments.overwrite
    whole = PresetRequest(preset, entries, *options, arguments.catalogue) if preset else None
    single = Request(entry, *options, arguments.file, arguments.catalogue) if entry else None
    if whole:
        check_preset(whole)
    if single:
        check_place(single)
    wanted = missing_members(preset, entries) if preset else [entry] if entry else []
    for one in wanted:
        if one.terms != "open" and not arguments.accept_licence:
            raise UsageError(_not_accepted(one))
    if arguments.progress == "bar":
        for one in wanted:
            _show(one)
    if wanted and arguments.file is None and not arguments.yes and not _agrees(wanted):
        print_line("Nothing was downloaded.", sys.stdout)
        return 1
    if single:
        model = get_model(single, listener, cancelled)
    else:
        assert whole, "find_public raises"
        model = get_preset(whole, listener, cancelled)
    listener.installed(model.name, str(model.folder))
    return 0


def _agrees(wanted: Sequence[PublicModel]) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        what = ", ".join(f"'{entry.name}' ({_size(entry)}, licence {_licence(entry)})" for entry in wanted)
        raise UsageError(f"{what}: downloaded with --yes, or after a yes on a terminal.")
    print_line(f"Download {'it' if len(wanted) == 1 else 'them'}? [y/N]", sys.stdout)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(entry: PublicModel) -> None:
    """What a user should know before the download."""
    lesions = ""
    if entry.lesions:
        lesions = f"{', '.join(entry.lesions.labels)}; around {', '.join(entry.lesions.hosts)}"
        lesions += f" + {entry.lesions.margin_mm:g} mm"
    facts = {
        "for": entry.purpose,
        "structures": f"{len(entry.structures)}: {one_line(', '.join(entry.structures), 200)}",
        "lesions": lesions,
        "made by": entry.authors,
        "licence": f"{_licence(entry)}, of the weights",
        "citation": entry.citation,
        "page": entry.page,
        "file": f"{entry.addresses[0]}, {_size(entry)}, sha256 {entry.sha256 or 'not published'}",
        "accuracy": entry.accuracy or "not published here",
        "notes": entry.notes,
        "tried": entry.tried,
    }
    print_line(f"{entry.name}: {entry.title}", sys.stdout)
    for key, text in facts.items():
        if text:
            print_line(f"  {key:<11} {text}", sys.stdout)


def _not_accepted(entry: PublicModel) -> str:
    where = f" at {entry.page}" if entry.page else ""
    if entry.terms == "unread":
        return f"Read the licence of '{entry.name}'{where}; if it allows your use, add --accept-licence."
    return (
        f"The weights of '{entry.name}' are not for commercial use ({entry.licence}); if the licence{where} allows "
        "yours, add --accept-licence."
    )


def _licence(entry: PublicModel) -> str:
    return "to be read on its page" if entry.terms == "unread" else f"{entry.licence}{TERMS[entry.terms]}"


def _size(entry: PublicModel) -> str:
    return "unknown" if entry.bytes is None else f"{max(1, round(entry.bytes / 1e6))} MB"
