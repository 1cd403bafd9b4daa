"""Two processes of torchrun share the work of every stage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from smoke_config import ROOT, SMALLER, SMOKE

from flareseg.model.bundle import load_bundle
from train.common.paths import RunPaths
from train.data.index import CLASSES


@pytest.mark.slow
def test_two_ranks_share_the_work_of_every_stage(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    short = ["phantoms.count=4", "phantoms.validation=1", *SMALLER, f"runs={tmp_path}", f"output={tmp_path / 'model'}"]
    short += [f"fits.{fit}.epochs=1" for fit in ("pretrain", "tumor", "final", "distill")]
    short += [f"fits.{fit}.steps_per_epoch=2" for fit in ("pretrain", "tumor", "final", "distill")]
    result = subprocess.run(
        [*command, "-m", "train", "all", "--config", str(SMOKE), *short],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    done = json.loads((RunPaths(tmp_path).fit("final") / "done.json").read_text())
    assert (done["processes"], done["steps"]) == (2, 2)
    assert load_bundle(tmp_path / "model").plan.classes == CLASSES
