"""The training's command line: `python -m train STAGE --config train/configs/default.yaml [key=value ...]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flareseg.errors import FlareError


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; returns the exit status."""
    from train import pipeline
    from train.config import load_config

    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    parser.add_argument(
        "stage",
        choices=[*pipeline.STAGES, "fit", "all"],
        help="'fit' is base, final and folds; 'all' runs every stage in order; finished work is skipped",
    )
    parser.add_argument("--config", type=Path, required=True, help="a file of train/configs")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. data=FOLDER base.max_steps=100")
    options = parser.parse_intermixed_args(arguments)
    try:
        config = load_config(options.config, options.overrides)
        groups = {"all": list(pipeline.STAGES), "fit": ["base", "final", "folds"]}
        stages = groups.get(options.stage, [options.stage])
        for stage in stages:
            pipeline.STAGES[stage](config)
    except FlareError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
