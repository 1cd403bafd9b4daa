"""The stages in order. Each skips finished work, so that a run can be stopped and resumed at any point.

prepare      sources -> index, statistics, caches
pretrain     Model Genesis on every CT (stage 1 of the paper)
tumor        S_tum on the cases with tumour labels
rounds       rounds of self-training before the last, if any: pseudo-labels, fusion, and fits on the fused labels
pseudolabel  S_tum on cases without tumour labels; an organ model, if configured, on cases without organ labels
fuse         label fusion: ground truth overrides pseudo-labels, tumours override organs
final        S on the fused labels (stage 2), and the coarse network
distill      a smaller network, distilled from S
folds        the exported fit without some cases, which then evaluate it
evaluate     DSC and NSD of each model on unseen cases
export       a model folder for flareseg
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
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

    def of_round(self, name: str) -> Run:
        """This run with the pseudo-labels of another round."""
        result = copy(self)
        result.paths = self.paths.of_round(name)
        return result

    def stage(self, name: str, of_round: str = "") -> None:
        """Run one stage, of a round if it is one of those that each has; returns on every rank when all have finished.

        Each begins with the threads that the program began with, whatever the one before it did: sums depend on them,
        and a stage shall give the same weights within `all` as on its own.
        """
        torch.set_num_threads(self._threads)
        run, point = self.of_round(of_round), f"{name}.{of_round}" if of_round else name
        if name in ALONE:
            self.barrier.main_only(point, partial(ALONE[name], run))
        else:
            TOGETHER[name](run)
            self.barrier.wait(point)


def prepare(run: Run) -> None:
    from train.stages.prepare import prepare as work

    work(run.config, run.paths)


def fuse(run: Run) -> None:
    from train.stages.fuse import fuse as work

    if run.config.learning_from(run.paths.round):
        work(run.config, run.paths, run.index)


def evaluate(run: Run) -> None:
    from train.stages.evaluate import evaluate as work

    work(run.config, run.paths, run.index)


def export(run: Run) -> None:
    from train.stages.export import export_model, read_calibration, read_scores

    config, paths = run.config, run.paths
    scores, lesions = read_scores(paths), read_scores(paths, "lesions")
    learnt = read_calibration(paths)
    path = export_model(
        config, paths, config.export.fit, config.output, scores=scores, lesions=lesions, calibration=learnt
    )
    print(f"Wrote {path}.", flush=True)


def pseudolabel(run: Run) -> None:
    from train.stages.pseudolabel import pseudolabel as work

    if run.config.learning_from(run.paths.round):
        work(run.config, run.paths, run.index, sharing_rank())


def rounds(run: Run) -> None:
    """Every round before the last: its pseudo-labels, their fusion, and the nets that label in the next."""
    for name in run.config.rounds:
        for stage in OF_EACH_ROUND:
            run.stage(stage, name)
        _train(run, "rounds", [fit for fit in run.config.fits_of("rounds") if run.config.fits[fit].round == name])


def fits(stage: Stage, run: Run) -> None:
    """All fits of a stage, in the configuration's order; every rank takes part in each."""
    if stage == "pretrain" and not run.config.ablation.pretraining:
        return
    _train(run, stage, run.config.fits_of(stage))


def _train(run: Run, stage: Stage, names: Sequence[str]) -> None:
    for name in names:
        fit_named(run.config, run.paths, run.index, name)
        run.barrier.main_only(f"{stage}.{name}", partial(_report, run, name))


def _report(run: Run, name: str) -> None:
    """Report of a pre-training."""
    from train.stages.pretrain import report_reconstruction

    if run.config.fits[name].task == "reconstruct":
        report_reconstruction(run.config, run.paths, run.index, name)


def folds(run: Run) -> None:
    """Train the exported fit once without each fold, and its helpers too if they were trained on its cases."""
    export = run.config.export
    for left_out in fold_groups(run.config, run.index):
        for helper in filter(None, (export.coarse, export.tumour)):
            if hidden := hidden_from(run.config, run.index, helper, left_out):
                fit_named(run.config, run.paths, run.index, helper, hidden)
        fit_named(run.config, run.paths, run.index, export.fit, left_out)
        run.barrier.wait(f"folds.{'+'.join(left_out)}")


ALONE: dict[str, Callable[[Run], None]] = {"prepare": prepare, "fuse": fuse, "evaluate": evaluate, "export": export}
"""Run by the main rank while the others wait."""
TOGETHER: dict[str, Callable[[Run], None]] = {
    "pretrain": partial(fits, "pretrain"),
    "tumor": partial(fits, "tumor"),
    "rounds": rounds,
    "pseudolabel": pseudolabel,
    "final": partial(fits, "final"),
    "distill": partial(fits, "distill"),
    "folds": folds,
}
"""Run by all ranks."""
OF_EACH_ROUND = ("pseudolabel", "fuse")
"""Stages of each round; on their own they are of the last."""
STAGES = (
    "prepare",
    "pretrain",
    "tumor",
    "rounds",
    "pseudolabel",
    "fuse",
    "final",
    "distill",
    "folds",
    "evaluate",
    "export",
)
