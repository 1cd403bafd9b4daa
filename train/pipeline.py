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

from flareseg.errors import UsageError
from train.common.barrier import Barrier
from train.common.devices import take_own_device
from train.common.distributed import ALONE, Rank, rank_here, this_rank
from train.common.paths import RunPaths
from train.config import Config
from train.data.index import CaseIndex, read_index
from train.fit_config import Stage
from train.training.fits import fit_named, fold_groups, hidden_from


class Run:
    """The stages of one configuration, on this rank.

    Args:
        config: of the run.
        shard: the share of the cases that this launch takes in the stages `DIVIDED`; others take the others.
    """

    def __init__(self, config: Config, shard: Rank = ALONE) -> None:
        self.config = config
        self.paths = RunPaths(config.runs)
        self.rank, self.shard = this_rank(), shard
        self.barrier = Barrier(self.rank, config.runs)
        self._threads = torch.get_num_threads()
        take_own_device()

    @property
    def index(self) -> CaseIndex:
        return read_index(self.paths.index)

    @property
    def share(self) -> Rank:
        """The place of this rank among all that divide the cases, in this launch and in others."""
        return self.rank.within(self.shard)

    @property
    def processes(self) -> int:
        """Worker processes of this rank; the ranks of a machine divide those of the configuration."""
        return max(1, self.config.processes // rank_here().count)

    def of_round(self, name: str) -> Run:
        """This run with the labels of another round, on the same ranks."""
        result = copy(self)
        result.paths = self.paths.of_round(name)
        return result

    def stage(self, name: str, of_round: str = "") -> None:
        """Run one stage, of a round if it is one of those that each has; returns on every rank when all have finished.

        Each begins with the threads that the program began with, whatever the one before it did: sums depend on them,
        and a stage shall give the same weights within `all` as on its own.
        """
        torch.set_num_threads(self._threads)
        run = self.of_round(of_round)
        WORK[name](run)
        self.barrier.wait(run._point(name))

    def put_together(self, name: str, missing: Callable[[], Sequence[str]], finish: Callable[[], object]) -> None:
        """When every rank has done its share of the stage `name`, let the main one finish it.

        With other launches, only if these have done theirs: that which ends last finishes it.
        """
        point, asked = self._point(name), f"{name} --round {self.paths.round}" if self.paths.round else name

        def work() -> None:
            left = missing() if self.shard.count > 1 else ()
            if left:
                print(
                    f"{name}: the share {self.shard} is done; cases left to others: {len(left)}, the first is "
                    f"'{left[0]}'. Whoever ends last finishes the stage, and '{asked}' without --shard does what is "
                    "missing.",
                    flush=True,
                )
            else:
                finish()

        self.barrier.wait(f"{point}.share")
        self.barrier.main_only(f"{point}.finish", work)

    def _point(self, name: str) -> str:
        """What ranks call the end of a stage when they wait for each other: each round has its own."""
        return f"{name}.{self.paths.round}" if self.paths.round else name


def prepare(run: Run) -> None:
    from train.stages.prepare import generate, prepare_cases, survey, unprepared, write_results

    config, paths = run.config, run.paths
    if run.shard.count > 1 and (config.phantoms or config.new_patients):
        raise UsageError("Phantoms and new patients are drawn by one task; run 'prepare' without --shard or an array.")
    run.barrier.main_only("prepare.generate", partial(generate, config, paths))
    found = survey(config, paths)
    prepare_cases(run.share.share(found.jobs), run.processes)
    run.put_together("prepare", partial(unprepared, found), partial(write_results, config, paths, found))


def rounds(run: Run) -> None:
    """Every round before the last: its pseudo-labels, their fusion, and the nets that label in the next."""
    for name in run.config.rounds:
        for stage in OF_EACH_ROUND:
            run.stage(stage, name)
        _train(run, "rounds", [fit for fit in run.config.fits_of("rounds") if run.config.fits[fit].round == name])


def pseudolabel(run: Run) -> None:
    from train.stages.pseudolabel import pseudolabel as work
    from train.stages.pseudolabel import unlabelled

    if run.config.learning_from(run.paths.round):
        given = run.config, run.paths, run.index
        work(*given, run.share)
        run.put_together("pseudolabel", partial(unlabelled, *given), lambda: None)


def fuse(run: Run) -> None:
    from train.stages.fuse import fuse as work
    from train.stages.fuse import unfused

    if run.config.learning_from(run.paths.round):
        given = run.config, run.paths, run.index
        work(*given, run.share, run.processes)
        if run.share.count > 1:
            run.put_together("fuse", partial(unfused, *given), partial(work, *given))


def evaluate(run: Run) -> None:
    from train.stages.evaluate import Evaluation
    from train.stages.tumour_rule import choose_tumour_rule

    with Evaluation(run.config, run.paths, run.index, run.share) as work:

        def finish() -> None:
            work.write()
            choose_tumour_rule(run.config, run.paths, run.index)

        work.score(run.share.share(work.cases))
        run.put_together("evaluate", work.missing, finish)


def export(run: Run) -> None:
    run.barrier.main_only("export.write", partial(_export, run))


def _export(run: Run) -> None:
    from train.stages.export import export_model, read_calibration, read_scores
    from train.stages.tumour_rule import with_chosen_rule

    config, paths = with_chosen_rule(run.config, run.paths), run.paths
    scores, lesions = read_scores(paths), read_scores(paths, "lesions")
    learnt = read_calibration(paths)
    path = export_model(
        config, paths, config.export.fit, config.output, scores=scores, lesions=lesions, calibration=learnt
    )
    print(f"Wrote {path}.", flush=True)


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
    export, folded = run.config.export, run.config.folded
    helpers = [name for name in (export.coarse, export.tumour) if name and name != folded]
    for left_out in fold_groups(run.config, run.index):
        for helper in helpers:
            if hidden := hidden_from(run.config, run.index, helper, left_out):
                fit_named(run.config, run.paths, run.index, helper, hidden)
        fit_named(run.config, run.paths, run.index, folded, left_out)
        run.barrier.wait(f"folds.{'+'.join(left_out)}")


WORK: dict[str, Callable[[Run], None]] = {
    "prepare": prepare,
    "pretrain": partial(fits, "pretrain"),
    "tumor": partial(fits, "tumor"),
    "rounds": rounds,
    "pseudolabel": pseudolabel,
    "fuse": fuse,
    "final": partial(fits, "final"),
    "distill": partial(fits, "distill"),
    "folds": folds,
    "evaluate": evaluate,
    "export": export,
}
"""All stages, in order; every rank does each."""
STAGES = tuple(WORK)
DIVIDED = ("prepare", "pseudolabel", "fuse", "evaluate")
"""Stages whose cases several launches may divide, besides the ranks of each."""
OF_EACH_ROUND = ("pseudolabel", "fuse")
"""Stages of each round; on their own they are of the last."""
