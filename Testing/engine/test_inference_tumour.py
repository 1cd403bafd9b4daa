"""Which of what the tumours' net says is drawn."""

import torch

from flareseg.inference.tumour_net import TumourLogits, merge_tumour_logits
from flareseg.model.plan import LesionRule

ORGAN, TUMOUR = 1, 2
PLAIN = LesionRule()


def drawn(leads: list[float], rule: LesionRule = PLAIN, finer: int = 1) -> list[int]:
    """Winners of the main net's (background, organ, tumour) along a line, where its own tumours are silent and the
    tumours' net of (background, tumour) says `leads`."""
    size = len(leads) * finer
    logits = torch.tensor([0.0, 4.0, -1000.0])[:, None, None, None].repeat(1, 1, 1, size)
    its = torch.stack([torch.full((len(leads),), 2.0), torch.tensor(leads) + 2.0])[:, None, None]
    before = its.clone()
    merge_tumour_logits(TumourLogits(logits, TUMOUR), TumourLogits(its, 1), rule)
    assert torch.equal(its, before)
    assert torch.equal(logits[:TUMOUR, 0, 0, 0], torch.tensor([0.0, 4.0]))
    return logits.argmax(0).flatten().tolist()


def test_a_tumour_is_where_its_net_says_so_and_organs_are_elsewhere():
    assert drawn([-1.0, 0.5, -0.5, 3.0]) == [ORGAN, TUMOUR, ORGAN, TUMOUR]


def test_the_margin_moves_the_border():
    assert drawn([-1.0, 0.5, -0.5, 3.0], LesionRule(lead=-0.7)) == [ORGAN, TUMOUR, TUMOUR, TUMOUR]
    assert drawn([-1.0, 0.5, -0.5, 3.0], LesionRule(lead=1.0, peak=1.0)) == [ORGAN, ORGAN, ORGAN, TUMOUR]


def test_faint_lesions_are_left_out_and_the_faint_border_of_a_clear_one_is_not():
    leads = [-0.5, -0.5, -3.0, -0.5, 1.0, -0.5, -3.0, 0.9]
    assert drawn(leads, LesionRule(lead=-1.0, peak=1.0)) == [1, 1, 1, 2, 2, 2, 1, 1]
    assert drawn([-3.0, -3.0], LesionRule(lead=-1.0, peak=1.0)) == [1, 1]


def test_borders_from_a_coarser_grid_lie_between_its_voxels():
    assert drawn([-1.0, 1.0], finer=4) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert drawn([-3.0, 1.0], finer=4) == [1, 1, 1, 1, 1, 2, 2, 2]
