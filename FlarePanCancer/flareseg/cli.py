"""The command line: `flareseg segment | evaluate | compare | cohort | models | bench | devices | sample | pacs | watch`

Exit status: 0 done, 1 a case failed (the others are done), 2 wrong usage, 130 cancelled.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from flareseg import __version__
from flareseg.commands.beside_options import add_beside_options
from flareseg.commands.cohort_options import add_cohort
from flareseg.commands.combine_options import add_combine_verb
from flareseg.commands.compare_options import add_compare
from flareseg.commands.evaluate_options import add_evaluate
from flareseg.commands.many_options import add_many_options
from flareseg.commands.measurements_options import add_measurements
from flareseg.commands.model_options import add_model_options
from flareseg.commands.public_options import add_public_verbs
from flareseg.errors import FlareError, UsageError
from flareseg.system.arguments import finite, folds, names, path, positive_int
from flareseg.system.failures import reported
from flareseg.system.leftovers import remove_temporary_leftovers
from flareseg.system.streams import OutputGone, print_line, print_text, tell

Handler = Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    handler: Handler = arguments.handler
    if not _has_current_folder():  # libraries end the process for less
        tell("flareseg: The current folder has been removed; change to one that is there.")
        return 1
    remove_temporary_leftovers()
    try:
        return handler(arguments)
    except Exception as error:
        if isinstance(error, OutputGone) and error.reader_left:
            return 0  # such as `head`, which has read enough; that is no failure of ours
        if arguments.debug:
            raise
        tell(f"flareseg: {reported(error)}")
        return error.exit_status if isinstance(error, FlareError) else 1


def _has_current_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


class _Parser(argparse.ArgumentParser):
    """Reports wrong usage in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        tell(f"flareseg: {' '.join(message.split())}; see {self.prog} --help.")
        sys.exit(UsageError.exit_status)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="flareseg",
        description="Segment 13 abdominal organs and tumours in CT. Research use only; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"flareseg {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_segment(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_cohort(commands)
    _add_models(commands)
    add_measurements(commands)
    _add_bench(commands)
    _add_devices(commands)
    _add_sample(commands)
    _add_pacs(commands)
    _add_watch(commands)
    return parser


def _add_segment(commands: argparse._SubParsersAction[_Parser]) -> None:
    from flareseg.io.writers import endings_for

    endings = endings_for("segmentation")
    parser = commands.add_parser("segment", help="segment one or many CTs")
    parser.add_argument(
        "inputs",
        nargs="*",
        type=path,
        metavar="INPUT",
        help="a CT (.nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd), a DICOM folder, or a folder of cases at any depth",
    )
    parser.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        type=path,
        metavar="OUT",
        help=f"a file ending in {', '.join(endings)} (repeat it for several formats), or a folder; "
        "default: NAME_flareseg.nii.gz in the current folder",
    )
    parser.add_argument("--list", type=path, metavar="FILE", help="more inputs, a path a line (UTF-8)")
    parser.add_argument(
        "--await-inputs",
        action="store_true",
        help="inputs are files, some of which another program still writes: each is waited for when its turn comes",
    )
    parser.add_argument("--format", default=".nii.gz", help="ending of files in an output folder (default .nii.gz)")
    add_model_options(parser)
    parser.add_argument("--structures", metavar="NAMES", help="only these, e.g. liver,spleen,tumour (default: all)")
    parser.add_argument(
        "--roi",
        nargs=6,
        type=finite,
        metavar=("X0", "X1", "Y0", "Y1", "Z0", "Z1"),
        help="only inside this box, in patient coordinates (LPS, mm)",
    )
    parser.add_argument(
        "--series", metavar="N|UID", help="which series of a DICOM folder; 4.3 is acquisition 3 of series 4"
    )
    parser.add_argument("--force", action="store_true", help="go on where the input does not look like a CT")
    parser.add_argument(
        "--foreign-files",
        action="store_true",
        help="read voxels also from files outside the folder of the header that names them",
    )
    add_beside_options(parser)
    add_many_options(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace results that exist (never an input, whatever the names)"
    )
    parser.add_argument(
        "--skip-existing",
        action="store_true",
        help="go on with an earlier run: leave out cases whose results are whole, of the same CT, model and options, "
        "as the manifest beside them says, and do the others; results that flareseg did not write, or that were "
        "changed, are errors, or with --overwrite too are replaced",
    )
    parser.add_argument("--progress", choices=("bar", "json", "none"), default="bar", help="how to show progress")
    parser.set_defaults(handler=_segment)


def _add_models(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("models", help="list, get, describe, import, combine, export and remove models")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    verbs.add_parser("list", help="the models at hand and the folder of the user's own").set_defaults(
        handler=_models_list
    )
    add_public_verbs(verbs)
    info = verbs.add_parser("info", help="what a model is, was trained on, and scored")
    info.add_argument("model", nargs="?", default="default")
    info.set_defaults(handler=_models_info)
    importing = verbs.add_parser("import", help="copy a model folder or zip, or one of nnU-Net, into the user's models")
    importing.add_argument("source", type=path, metavar="FOLDER|ZIP")
    importing.add_argument(
        "--configuration", metavar="NAME", help="of nnU-Net's, e.g. 3d_fullres, where there are several"
    )
    importing.add_argument("--folds", type=folds, metavar="N,N", help="of nnU-Net's (default: all, as an ensemble)")
    importing.add_argument("--checkpoint", metavar="FILE", help="of nnU-Net's (default: checkpoint_final.pth)")
    importing.add_argument(
        "--no-parity", action="store_true", help="run it the fast way from now on, not voxel for voxel as nnU-Net does"
    )
    importing.add_argument(
        "--region",
        action="store_true",
        help="the fast way looks only where the embedded model's coarse net finds organs; what that misses is lost",
    )
    importing.add_argument(
        "--axes",
        choices=("lps", "ras", "stored"),
        help="of nnU-Net's: which way the body lies before the net (default: as the plans say, or the model's name)",
    )
    importing.add_argument(
        "--labels",
        type=names,
        metavar="NAME,NAME",
        help="of nnU-Net v1's: structures 1, 2, ..., which it may not name",
    )
    importing.add_argument("--name", help="call it so (default: the name it carries)")
    importing.add_argument("--overwrite", action="store_true", help="replace a model of that name")
    importing.set_defaults(handler=_models_import)
    add_combine_verb(verbs)
    checking = verbs.add_parser("check", help="find out which way a model wants the body to lie, on a CT of an abdomen")
    checking.add_argument("model", metavar="NAME")
    checking.add_argument("input", type=path, metavar="CT")
    checking.add_argument("--fix", action="store_true", help="change one of your own models where another way fits")
    checking.add_argument("--json", action="store_true", help="as one line of JSON, for programs")
    checking.set_defaults(handler=_models_check)
    exporting = verbs.add_parser("export", help="write a model for nnU-Net, ONNX Runtime or MONAI")
    exporting.add_argument("model", metavar="NAME|FOLDER")
    exporting.add_argument("--format", required=True, choices=("nnunet", "onnx", "monai-bundle"), help="for which")
    exporting.add_argument(
        "--net", choices=("main", "coarse", "tumour"), default="main", help="which net of the model (default main)"
    )
    exporting.add_argument(
        "-o", "--output", type=path, metavar="FOLDER", help="default: NAME_FORMAT in the current folder"
    )
    exporting.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    exporting.set_defaults(handler=_models_export)
    removing = verbs.add_parser("remove", help="delete one of the user's models")
    removing.add_argument("model")
    removing.set_defaults(handler=_models_remove)


def _add_bench(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("bench", help="time and memory of every stage on one CT")
    parser.add_argument("input", type=path, metavar="INPUT")
    parser.add_argument("--repeats", type=positive_int, default=3, help="runs after one warm-up run (default 3)")
    parser.add_argument("--json", type=path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--force", action="store_true", help="go on where the input does not look like a CT")
    add_model_options(parser)
    parser.set_defaults(handler=_bench)


def _add_devices(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("devices", help="what this machine can segment with")
    parser.add_argument("--json", action="store_true", help="as one line of JSON, for programs")
    parser.set_defaults(handler=_devices)


def _add_sample(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser("sample", help="get a real public abdominal CT (38 MB download, Apache-2.0)")
    parser.add_argument("folder", nargs="?", type=path, help="copy it there (default: only into the user's cache)")
    parser.set_defaults(handler=_sample)


def _add_pacs(commands: argparse._SubParsersAction[_Parser]) -> None:
    from flareseg.commands.pacs_options import add_pacs_options

    parser = commands.add_parser("pacs", help="segment a CT of a DICOM archive, and send the result back")
    add_pacs_options(parser)
    parser.set_defaults(handler=_pacs)


def _add_watch(commands: argparse._SubParsersAction[_Parser]) -> None:
    from flareseg.commands.watch_options import add_watch_options

    parser = commands.add_parser("watch", help="segment every CT that other programs put into a folder")
    add_watch_options(parser)
    parser.set_defaults(handler=_watch)


def _pacs(arguments: argparse.Namespace) -> int:
    from flareseg.commands.pacs import pacs_command

    return pacs_command(arguments)


def _watch(arguments: argparse.Namespace) -> int:
    from flareseg.commands.watch import watch_command

    return watch_command(arguments)


def _segment(arguments: argparse.Namespace) -> int:
    from flareseg.commands.segment import segment_command

    return segment_command(arguments)


def _models_list(arguments: argparse.Namespace) -> int:
    from flareseg.model.catalogue import list_models, models_folder
    from flareseg.system.user_folders import NoHome

    for entry in list_models():
        print_line(f"{entry.name:<20} {entry.version:<8} {entry.origin:<10} {entry.description}", sys.stdout)
    try:
        where = f"Your own models live in {models_folder()}"
    except NoHome as error:
        where = str(error)
    print_line(where, sys.stdout)
    return 0


def _models_info(arguments: argparse.Namespace) -> int:
    from flareseg.model.catalogue import describe

    print_text(describe(arguments.model), sys.stdout)
    return 0


def _models_import(arguments: argparse.Namespace) -> int:
    from flareseg.interop.import_model import import_model, notes_of
    from flareseg.interop.nnunet.importer import Choice

    choice = Choice(
        configuration=arguments.configuration,
        folds=arguments.folds,
        checkpoint=arguments.checkpoint,
        parity=not arguments.no_parity,
        region=arguments.region,
        axes=arguments.axes,
        labels=arguments.labels,
    )
    entry = import_model(
        arguments.source,
        name=arguments.name,
        overwrite=arguments.overwrite,
        choice=None if choice == Choice() else choice,
    )
    for note in notes_of(entry.folder):
        print_line(note, sys.stdout)
    print_line(f"Imported '{entry.name}'; use it with: flareseg segment CT --model {entry.name}", sys.stdout)
    return 0


def _models_check(arguments: argparse.Namespace) -> int:
    from flareseg.commands.check_axes import check_command

    return check_command(arguments)


def _models_export(arguments: argparse.Namespace) -> int:
    from flareseg.interop.export import export_model

    folder = export_model(
        arguments.model,
        arguments.format,
        net=arguments.net,
        folder=arguments.output,
        overwrite=arguments.overwrite,
    )
    print_line(f"Exported to {folder}", sys.stdout)
    return 0


def _models_remove(arguments: argparse.Namespace) -> int:
    from flareseg.model.catalogue import remove_model

    remove_model(arguments.model)
    print_line(f"Removed '{arguments.model}'.", sys.stdout)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from flareseg.cases.clashes import refuse_over_inputs
    from flareseg.commands.bench import bench_command

    if arguments.json:
        refuse_over_inputs(arguments.json, [arguments.input], "what was measured")
    return bench_command(arguments)


def _devices(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from flareseg.inference.devices import list_devices
    from flareseg.progress import DEVICES

    devices = list_devices()
    if arguments.json:
        import json

        print_line(json.dumps({"event": DEVICES, "devices": [asdict(device) for device in devices]}), sys.stdout)
        return 0
    for device in devices:
        print_line(f"{device.name:<8} {device.description}", sys.stdout)
    return 0


def _sample(arguments: argparse.Namespace) -> int:
    from flareseg.commands.sample import sample_ct

    print_line(str(sample_ct(arguments.folder)), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
