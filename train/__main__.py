"""The training's command line.

python -m train STAGE --config train/configs/NAME.yaml [key=value ...]
python -m train review --config train/configs/NAME.yaml [--count N] [key=value ...]
python -m train plan --config train/configs/NAME.yaml --out PLANNED.yaml [--gpu-memory GB] [key=value ...]
python -m train table RUN [RUN ...]
python -m train costs --config train/configs/NAME.yaml [--cases N] [--gpus N] [key=value ...]
torchrun --nproc-per-node 8 -m train all --config train/configs/paper.yaml
python -m train prepare --shard 3/32 --config train/configs/paper.yaml
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path

from flareseg.errors import Cancelled, FlareError, UsageError
from flareseg.system.private_imports import import_for_training

A_CONFIG = "a file like those of train/configs"
AN_OVERRIDE = "e.g. runs=FOLDER fits.final.epochs=100"


def main(arguments: list[str] | None = None) -> int:
    """Run stages, or compare the scores of runs; returns the exit status."""
    import_for_training()
    options = _parser().parse_args(arguments)
    try:
        _do(options)
    except FlareError as error:
        if options.debug:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(Cancelled.message, file=sys.stderr)
        return Cancelled.exit_status
    return 0


def _parser() -> argparse.ArgumentParser:
    from train.pipeline import STAGES
    from train.stages.costs import add_options

    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    for name in (*STAGES, "all"):
        text = "every stage in order; what is done is skipped" if name == "all" else f"the stage {name}"
        _add_stage(commands.add_parser(name, help=text), name)
    reviewer = commands.add_parser("review", help="a page to judge pseudo-labels on; 'fuse' reads what it saves")
    reviewer.add_argument("--config", type=Path, required=True, help=A_CONFIG)
    reviewer.add_argument("--count", type=int, default=0, metavar="N", help="N cases drawn at random (default: all)")
    planner = commands.add_parser("plan", help="spacing, patch, stages and batch of the nets, as nnU-Net v2 plans them")
    _add_plan(planner)
    costing = commands.add_parser("costs", help="GPU-hours, core-hours, disk and memory of so many CTs, reckoned")
    add_options(costing)
    table = commands.add_parser("table", help="scores of several runs side by side, as in the paper's ablation")
    table.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder 'runs' of a configuration")
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show a traceback with an error")
        if command is not table:
            command.add_argument("overrides", nargs="*", metavar="key=value", help=AN_OVERRIDE)
    return parser


def _add_stage(stage: argparse.ArgumentParser, name: str) -> None:
    from train.pipeline import DIVIDED, OF_EACH_ROUND

    stage.add_argument("--config", type=Path, required=True, help=A_CONFIG)
    if name in DIVIDED:
        text = "take the i-th of n shares of the cases (in a SLURM array, that of the task)"
        stage.add_argument("--shard", metavar="i/n", help=text)
    stage.add_argument("--redo", action="store_true", help="train stale fits again, instead of refusing them")
    if name in OF_EACH_ROUND:
        stage.add_argument("--round", default="", metavar="NAME", help="of this one of `rounds`; the last if left out")


def _add_plan(planner: argparse.ArgumentParser) -> None:
    planner.add_argument("--config", type=Path, required=True, help="whose sources are measured and nets planned")
    planner.add_argument("--out", type=Path, required=True, help="the file to write, which extends that of --config")
    planner.add_argument("--net", action="append", default=[], metavar="NAME", help="plan this net (again for more)")
    planner.add_argument("--gpu-memory", type=float, metavar="GB", help="of the GPU (8; for resenc_l 24, resenc_xl 40)")
    planner.add_argument("--preset", default="plain", choices=("plain", "resenc_m", "resenc_l", "resenc_xl"))
    planner.add_argument("--fingerprint", type=Path, metavar="FILE", help="nnU-Net's dataset_fingerprint.json instead")


def _do(options: argparse.Namespace) -> None:
    if options.command == "table":
        from train.reporting.tables import ablation

        print(ablation(options.runs))
    elif options.command == "costs":
        from train.stages.costs import costs

        print(costs(options))
    elif options.command == "plan":
        from train.stages.plan import PlanRequest, plan

        given = (options.config, options.out, options.overrides, options.net, options.fingerprint)
        plan(PlanRequest(*given, memory_gb=options.gpu_memory, preset=options.preset))
    elif options.command == "review":
        _review(options.config, options.overrides, options.count)
    else:
        overrides = [*options.overrides, *(["redo=true"] if options.redo else [])]
        of_round = vars(options).get("round", "")
        _run(options.command, options.config, overrides, vars(options).get("shard"), of_round)


def _run(command: str, path: Path, overrides: list[str], shard: str | None, of_round: str) -> None:
    from train.common.distributed import ALONE, shard_named, shard_of_array
    from train.config_file import load_config
    from train.pipeline import DIVIDED, STAGES, Run

    share = shard_named(shard) if shard else shard_of_array() if command in DIVIDED else ALONE
    config = load_config(path, overrides)
    if of_round and of_round not in config.rounds:
        raise UsageError(f"There is no round '{of_round}' in rounds; there are: {', '.join(config.rounds) or 'none'}.")
    run = Run(config, share)
    for name in STAGES if command == "all" else (command,):
        run.stage(name, of_round)


def _review(path: Path, overrides: list[str], count: int) -> None:
    from train.config_file import load_config
    from train.pipeline import Run
    from train.stages.review import review

    run = Run(load_config(path, overrides))
    page = review(run.config, run.paths, run.index, count)
    print(f"Wrote {page}; open it, save your reviews, and name the file in `reviews` of the configuration.", flush=True)


if __name__ == "__main__":
    sys.exit(main())
