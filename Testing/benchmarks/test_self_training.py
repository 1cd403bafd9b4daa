"""What is compared exists, and the table that is committed is that of the committed figures."""

from __future__ import annotations

import json

import self_training
from harness import RESULTS

from train.config_file import load_config


def test_every_arm_is_a_fit_and_every_row_of_labels_a_round() -> None:
    config = load_config(self_training.CONFIG)
    assert {arm.fit for arm in self_training.ARMS} <= set(config.fits)
    assert {config.net_of(arm.fit).spacing_zyx_mm for arm in self_training.ARMS} == {(8.0, 8.0, 8.0)}
    assert all(config.learning_from(name) for _title, name in self_training.LABELS)
    students = [fit for name, fit in config.fits.items() if name.startswith("taught_by") or name == "student"]
    assert len({(fit.net, fit.epochs, fit.steps_per_epoch, fit.batch_size) for fit in students}) == 1


def test_the_table_is_that_of_the_figures() -> None:
    found = json.loads((RESULTS / "self_training.json").read_text(encoding="utf-8"))
    text = (RESULTS / "self_training.md").read_text(encoding="utf-8")
    assert self_training.page(found).strip() == text.strip()
