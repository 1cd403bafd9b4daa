"""Options of the model are described once: what is typed, what a manifest records and what Slicer starts agree."""

import argparse

import pytest

from flareseg.commands.model_options import add_model_options, options_of
from flareseg.options import FLAGS, Options, as_arguments, result_record


def parsed(words):
    parser = argparse.ArgumentParser()
    add_model_options(parser)
    return options_of(parser.parse_args(words))


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options("cuda:1", "torch", 3, 2.5, 0.25, True, False),
        Options(device="cpu", backend="openvino", mirroring=False, parity=True),
    ],
)
def test_options_survive_the_command_line(options):
    assert parsed(as_arguments(options)) == options


def test_defaults_need_no_words():
    assert as_arguments(Options()) == []
    assert as_arguments(Options(mirroring=False)) == ["--no-tta"]


def test_a_manifest_records_what_decides_a_result_and_nothing_of_the_machine():
    recorded = result_record(Options("cpu", "torch", 3, 2.5, 0.25, True, False))
    assert recorded == {"step": 0.25, "tta": True, "parity": False}
    assert set(result_record(Options()).values()) == {None}


def test_every_option_says_what_it_is_for(capsys):
    with pytest.raises(SystemExit):
        parsed(["--help"])
    page = " ".join(capsys.readouterr().out.split())
    assert all(flag.help and flag.flag in page for flag in FLAGS.values())
