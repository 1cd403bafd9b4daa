"""The training's command line.

python -m train STAGE --config train/configs/NAME.yaml [key=value ...]
python -m train plan --config train/configs/NAME.yaml --out PLANNED.yaml [--gpu-memory GB] [key=value ...]
python -m train table RUN [RUN ...]
torchrun --nproc-per-node 8 -m train all --config train/configs/paper.yaml
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from flareseg.errors import Cancelled, FlareError, UsageError
from flareseg.system.private_imports import import_for_training


def main(arguments: list[str] | None = None) -> int:
    """Run stages, or compare the scores of runs; returns the exit status."""
    import_for_training()
    from train.pipeline import OF_EACH_ROUND, STAGES

    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name in (*STAGES, "all"):
        text = "every stage in order; what is done is skipped" if name == "all" else f"the stage {name}"
        stage = commands.add_parser(name, help=text)
        stage.add_argument("--config", type=Path, required=True, help="a file like those of train/configs")
        stage.add_argument("--redo", action="store_true", help="train stale fits again, instead of refusing them")
        stage.add_argument("--debug", action="store_true", help="show a traceback with an error")
        if name in OF_EACH_ROUND:
            stage.add_argument(
                "--round", default="", metavar="NAME", help="of this one of `rounds`; the last if left out"
            )
        stage.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. runs=FOLDER fits.final.epochs=100")
    planner = commands.add_parser("plan", help="spacing, patch, stages and batch of the nets, as nnU-Net v2 plans them")
    planner.add_argument("--config", type=Path, required=True, help="whose sources are measured and nets planned")
    planner.add_argument("--out", type=Path, required=True, help="the file to write, which extends that of --config")
    planner.add_argument("--net", action="append", default=[], metavar="NAME", help="plan this net (again for more)")
    planner.add_argument("--gpu-memory", type=float, metavar="GB", help="of the GPU (8; for resenc_l 24, resenc_xl 40)")
    planner.add_argument("--preset", default="plain", choices=("plain", "resenc_m", "resenc_l", "resenc_xl"))
    planner.add_argument("--fingerprint", type=Path, metavar="FILE", help="nnU-Net's dataset_fingerprint.json instead")
    planner.add_argument("--debug", action="store_true", help="show a traceback with an error")
    planner.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. sources.flare23.path=FOLDER")
    table = commands.add_parser("table", help="scores of several runs side by side, as in the paper's ablation")
    table.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder 'runs' of a configuration")
    table.add_argument("--debug", action="store_true", help="show a traceback with an error")
    options = parser.parse_args(arguments)
    try:
        if options.command == "table":
            from train.reporting.tables import ablation

            print(ablation(options.runs))
        elif options.command == "plan":
            from train.stages.plan import PlanRequest, plan

            given = (options.config, options.out, options.overrides, options.net, options.fingerprint)
            plan(PlanRequest(*given, memory_gb=options.gpu_memory, preset=options.preset))
        else:
            overrides = [*options.overrides, *(["redo=true"] if options.redo else [])]
            _run(options.command, options.config, overrides, getattr(options, "round", ""))
    except FlareError as error:
        if options.debug:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(Cancelled.message, file=sys.stderr)
        return Cancelled.exit_status
    return 0


def _run(command: str, path: Path, overrides: list[str], of_round: str) -> None:
    from train.config_file import load_config
    from train.pipeline import STAGES, Run

    run = Run(load_config(path, overrides))
    if of_round and of_round not in run.config.rounds:
        raise UsageError(
            f"There is no round '{of_round}' in rounds; there are: {', '.join(run.config.rounds) or 'none'}."
        )
    for name in STAGES if command == "all" else (command,):
        run.stage(name, of_round)


if __name__ == "__main__":
    sys.exit(main())
