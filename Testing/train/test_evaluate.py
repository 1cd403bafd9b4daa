"""Only what a case annotates is scored, and the card says what was scored and by which model."""

from pathlib import Path

import numpy as np
import pytest

from train.card import model_card
from train.config import load_config
from train.dataset import Case
from train.evaluate import score
from train.export import full_plan

CONFIGS = Path(__file__).parents[2] / "train" / "configs"


@pytest.fixture
def case():
    """Liver and spleen are annotated, the gallbladder is too but lies outside; one slice is unknown."""
    labels = np.zeros((10, 12, 14), np.uint8)
    labels[2:8, 2:8, 2:6], labels[2:8, 2:8, 8:12], labels[9] = 1, 3, 255
    known = np.zeros(15, bool)
    known[[0, 1, 3, 9]] = True
    return Case("patient", labels.astype(np.int16), labels, known, (3.0, 3.0, 3.0), {})


def test_a_perfect_prediction_scores_one_wherever_there_is_something_to_find(case):
    prediction = np.where(case.labels == 255, 2, case.labels)
    prediction[0] = 4  # a pancreas, which nobody annotated
    rows = score("model", case, prediction)
    assert [(row["structure"], row["dsc"], row["nsd"]) for row in rows] == [("liver", 1.0, 1.0), ("spleen", 1.0, 1.0)]


def test_an_annotated_structure_that_is_missed_or_invented_scores_zero(case):
    prediction = np.where(case.labels == 1, 9, 0).astype(np.uint8)
    rows = {row["structure"]: row["dsc"] for row in score("model", case, prediction)}
    assert rows == {"liver": 0.0, "spleen": 0.0, "gallbladder": 0.0}


def test_the_card_tells_data_licences_fits_and_means():
    config = load_config(CONFIGS / "default.yaml")
    provenance = {
        "data": [{"case": "someone", "licence": "CC BY 4.0", "citation": "Someone 2020", "label_quality": "by hand"}],
        "fits": {"main/all": {"steps": 750, "seconds": 660, "cases": ["someone"]}},
    }
    rows = [
        {"model": "without_someone", "case": "someone", "structure": "liver", "dsc": 0.9, "nsd": 0.8},
        {"model": "without_someone", "case": "someone", "structure": "spleen", "dsc": 0.7, "nsd": 0.6},
        {"model": "all", "case": "phantom_1", "structure": "liver", "dsc": 0.5, "nsd": 0.4},
    ]
    card = model_card(config, full_plan(config), provenance, rows)
    assert "- **someone**: CC BY 4.0; Someone 2020. Labels: by hand." in card
    assert "| main/all | 750 | 11.0 | someone |" in card
    assert "| Liver | 90.0 / 80.0 |" in card
    assert "| **Mean** | 80.0 / 70.0 |" in card
    assert "| Liver | 50.0 / 40.0 |" in card
    assert "| Pancreas | - |" in card
