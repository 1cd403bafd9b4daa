"""A request of Slicer's becomes the engine's command line; choices by name find their place in it."""

from pathlib import Path

import pytest

from FlarePanCancerLib.run_request import ACCURATE, FAST, MIRRORED, PARITY, RunRequest, with_choices
from flareseg.options import Options

BEFORE = ["segment", "--list", "cts.txt", "--await-inputs", "-o", "r", "--format", ".labels.nrrd"]
BEFORE += ["--model", "default", "--progress", "json"]


def arguments(request):
    return request.arguments(Path("cts.txt"), Path("r"), Path("p"))


@pytest.mark.parametrize(
    "quality, words",
    [
        ("", []),
        (FAST, ["--no-parity"]),
        (ACCURATE, ["--step", "0.5", "--no-parity"]),
        (MIRRORED, ["--step", "0.5", "--tta", "--no-parity"]),
        (PARITY, ["--parity"]),
    ],
)
def test_a_quality_is_a_choice_of_options(quality, words):
    assert arguments(with_choices(quality=quality, preview=False)) == [*BEFORE, *words]


def test_an_option_that_is_chosen_by_itself_goes_before_the_quality():
    words = arguments(with_choices(quality=ACCURATE, step=0.25, device="cpu", preview=False))
    assert words == [*BEFORE, "--device", "cpu", "--step", "0.25", "--no-parity"]


def test_everything_else_that_is_asked_for():
    request = with_choices(structures=["liver"], roi_lps_mm=(0, 1, 2, 3, 4, 5))
    box = ["0.0000", "1.0000", "2.0000", "3.0000", "4.0000", "5.0000"]
    assert arguments(request) == [*BEFORE, "--structures", "liver", "--roi", *box, "--preview", "p"]


def test_a_side_of_the_region_that_is_nearly_zero_is_a_number_to_the_engine():
    from flareseg.cli import _parser

    request = with_choices(roi_lps_mm=(-1.4e-14, 1e-7, -2.5e-5, 1, -300.25, 0), preview=False)
    assert _parser().parse_args(arguments(request)).roi == [0, 0, 0, 1, -300.25, 0]


def test_choices_change_a_request_and_keep_the_rest():
    before = RunRequest(quality=FAST, options=Options(device="cpu", threads=2))
    assert with_choices(before, threads=3, preview=False) == RunRequest(
        quality=FAST, preview=False, options=Options(device="cpu", threads=3)
    )


def test_a_name_that_is_no_choice_is_an_error():
    with pytest.raises(TypeError, match="colour"):
        with_choices(colour="red")
