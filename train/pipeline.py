"""The stages in order. Each skips finished work, so that a run can be stopped and resumed at any point.

prepare      sources -> index, statistics, caches
pretrain     Model Genesis on every CT (stage 1 of the paper)
tumor        S_tum on the cases with tumour labels
pseudolabel  S_tum on cases without tumour labels; an organ model, if configured, on cases without organ labels
fuse         label fusion: ground truth overrides pseudo-labels, tumours override organs
final        S on the fused labels (stage 2), and the coarse network
distill      a smaller network, distilled from S
folds        the exported fit without some cases, which then evaluate it
evaluate     DSC and NSD of each model on unseen cases
export       a model folder for flareseg
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from train.common.distributed import Barrier, sharing_rank, this_rank
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import CaseIndex, read_index
from train.fit_config import Stage
from train.training.fits import fit_named, fold_groups, hidden_from


class Run:
    """The stages of one configuration, on this rank."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = RunPaths(config.runs)
        self.rank = this_rank()
        self.barrier = Barrier(self.rank, config.runs)
        self._threads = torch.get_num_threads()

    @property
    def index(self) -> CaseIndex:
        return read_index(self.paths.index)

    def stage(self, name: str) -> None:
        """Run one stage; returns on every rank when all have finished it.

        Each begins with the threads that the program began with, whatever the one before it did: sums depend on them,
        and a stage shall give the same weights within `all` as on its own.
        """
        torch.set_num_threads(self._threads)
        if name in ALONE:
            self.barrier.main_only(name, partial(ALONE[name], self))
        else:
            TOGETHER[name](self)
            self.barrier.wait(name)


def prepare(run: Run) -> None:
    from train.stages.prepare import prepare as work

    work(run.config, run.paths)


def fuse(run: Run) -> None:
    from train.stages.fuse import fuse as work

    if any(fit.labels == "fused" for fit in run.config.fits.values()):
        work(run.config, run.paths, run.index)


def evaluate(run: Run) -> None:
    from train.stages.evaluate import evaluate as work
    from train.stages.tumour_rule import choose_tumour_rule

    work(run.config, run.paths, run.index)
    choose_tumour_rule(run.config, run.paths, run.index)


def export(run: Run) -> None:
    from train.stages.export import export_model, read_calibration, read_scores
    from train.stages.tumour_rule import with_chosen_rule

    config, paths = with_chosen_rule(run.config, run.paths), run.paths
    scores, lesions = read_scores(paths), read_scores(paths, "lesions")
    learnt = read_calibration(paths)
    path = export_model(
        config, paths, config.export.fit, config.output, scores=scores, lesions=lesions, calibration=learnt
    )
    print(f"Wrote {path}.", flush=True)


def pseudolabel(run: Run) -> None:
    from train.stages.pseudolabel import pseudolabel as work

    if any(fit.labels == "fused" for fit in run.config.fits.values()):
        work(run.config, run.paths, run.index, sharing_rank())


def fits(stage: Stage, run: Run) -> None:
    """All fits of a stage, in the configuration's order; every rank takes part in each."""
    if stage == "pretrain" and not run.config.ablation.pretraining:
        return
    for name in run.config.fits_of(stage):
        fit_named(run.config, run.paths, run.index, name)
        run.barrier.main_only(f"{stage}.{name}", partial(_report, run, name))


def _report(run: Run, name: str) -> None:
    """Report of a pre-training."""
    from train.stages.pretrain import report_reconstruction

    if run.config.fits[name].task == "reconstruct":
        report_reconstruction(run.config, run.paths, run.index, name)


def folds(run: Run) -> None:
    """Train the exported fit once without each fold, and its helpers too if they were trained on its cases."""
    export, folded = run.config.export, run.config.folded
    helpers = [name for name in (export.coarse, export.tumour) if name and name != folded]
    for left_out in fold_groups(run.config, run.index):
        for helper in helpers:
            if hidden := hidden_from(run.config, run.index, helper, left_out):
                fit_named(run.config, run.paths, run.index, helper, hidden)
        fit_named(run.config, run.paths, run.index, folded, left_out)
        run.barrier.wait(f"folds.{'+'.join(left_out)}")


ALONE: dict[str, Callable[[Run], None]] = {"prepare": prepare, "fuse": fuse, "evaluate": evaluate, "export": export}
"""Run by the main rank while the others wait."""
TOGETHER: dict[str, Callable[[Run], None]] = {
    "pretrain": partial(fits, "pretrain"),
    "tumor": partial(fits, "tumor"),
    "pseudolabel": pseudolabel,
    "final": partial(fits, "final"),
    "distill": partial(fits, "distill"),
    "folds": folds,
}
"""Run by all ranks."""
STAGES = (
    "prepare",
    "pretrain",
    "tumor",
    "pseudolabel",
    "fuse",
    "final",
    "distill",
    "folds",
    "evaluate",
    "export",
)
