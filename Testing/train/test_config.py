"""A configuration either fits or says in one line which word does not."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from flareseg.errors import UsageError
from flareseg.model.networks.registry import parameter_shapes
from flareseg.model.plan import Intensity
from train.config_file import load_config
from train.data.index import CLASSES

CONFIGS = Path(__file__).parents[2] / "train" / "configs"
MEASURED = Intensity((-160.0, 240.0), 80.0, 90.0)
REAL = "sources.real.path=."


@pytest.fixture
def smoke():
    return load_config(CONFIGS / "smoke.yaml")


@pytest.fixture
def paper(tmp_path):
    return load_config(CONFIGS / "paper.yaml", [f"sources.flare23.path={tmp_path}"])


def millions_of_parameters(net):
    return sum(math.prod(shape) for shape in parameter_shapes(net.plan(MEASURED)).values()) / 1e6


def test_the_smoke_configuration_has_a_fit_for_every_stage(smoke):
    for stage in ("pretrain", "tumor", "final", "distill"):
        assert smoke.fits_of(stage) == [stage]
    assert smoke.net_of("tumor").plan(MEASURED).labels == {0: "background", 1: "tumour"}
    assert smoke.net_of("tumor").values == (0, 14)
    assert smoke.net_of("final").plan(MEASURED).classes == CLASSES


def test_the_embedded_models_configuration_names_all_it_needs(tmp_path):
    written = yaml.safe_load((CONFIGS / "default.yaml").read_text(encoding="utf-8"))
    for case in written["new_patients"]["cases"]:
        (tmp_path / case.partition("/")[2]).mkdir()
    paths = [f"sources.{name}.path={tmp_path}" for name in ("real", "healthy", "packages")]
    starts = ["fits.coarse.start=tumours", "fits.final.start=tumours"]
    config = load_config(CONFIGS / "default.yaml", [*paths, f"sources.known.path={tmp_path}", *starts])
    assert config.fits_of("final") == ["coarse", "final"]
    assert [len(group) for group in config.folds] == [7, 7, 7, 7]
    before = load_config(CONFIGS / "default_0.4.yaml", paths)
    assert written["fits"]["final"]["start"] == written["fits"]["coarse"]["start"] == before.output.as_posix()
    assert before.fits_of("final") == ["coarse", "base", "base_again", "final"]
    assert before.nets["main"].filters == config.nets["main"].filters
    assert config.grids() == [(6.0, 6.0, 6.0), (3.0, 3.0, 3.0)]
    assert config.net_of("final").plan().intensity.mean_hu == 70.0
    sizes = load_config(CONFIGS / "sizes.yaml", paths)
    assert [sizes.net_of(fit).filters[0] for fit in ("size8", "size16", "size24", "student8")] == [8, 16, 24, 8]
    assert sizes.fits["genesis16"].start == "genesis" and sizes.fits["genesis"].task == "reconstruct"
    short = [sizes.fits[fit] for fit in ("size8", "size16", "size24", "genesis16")]
    assert all(replace(fit, net="main", start="") == short[1] for fit in short)


def test_the_papers_nets_have_the_papers_sizes(paper):
    assert millions_of_parameters(paper.nets["final"]) == pytest.approx(71.02, rel=0.02)
    assert millions_of_parameters(paper.nets["tumor"]) == pytest.approx(88.21, rel=0.02)


def test_the_papers_figures_are_the_papers(paper):
    final, tumor = paper.fits["final"], paper.fits["tumor"]
    assert (final.epochs, final.steps_per_epoch, final.batch_size) == (1000, 250, 2)
    assert (tumor.epochs, tumor.steps_per_epoch, tumor.batch_size, tumor.start) == (2000, 250, 2, "pretrain")
    for fit in (final, tumor):
        assert (fit.optimizer, fit.learning_rate, fit.momentum, fit.poly) == ("sgd", 0.01, 0.99, 0.9)
        assert fit.augment.flip == 0
    assert paper.net_of("final").spacing_zyx_mm == (2.5, 0.8, 0.8)
    assert paper.net_of("final").patch_zyx == (56, 160, 192)
    assert paper.net_of("final").kernels[0] == [1, 3, 3]
    assert paper.net_of("tumor").spacing_zyx_mm == (1.8, 1.8, 1.8)
    assert paper.net_of("tumor").patch_zyx == (112, 160, 160)
    assert paper.fits["pretrain"].reconstruction == "mse"


def test_intensities_are_taken_as_measured_where_none_are_given(smoke):
    assert smoke.net_of("final").plan(MEASURED).intensity == MEASURED
    assert smoke.net_of("tumor").plan(MEASURED).intensity.mean_hu == 70.0
    with pytest.raises(UsageError, match="prepare"):
        smoke.net_of("final").plan()


def test_command_line_values_replace_those_of_the_file():
    config = load_config(CONFIGS / "smoke.yaml", ["fits.final.epochs=7", "runs=some folder", "seed=3"])
    assert (config.fits["final"].epochs, config.runs, config.seed) == (7, Path("some folder"), 3)


@pytest.mark.parametrize("text", ["1e-3", "1E-3", ".1e-2", "+1.e-3", "10e-4", "1.0e-3"])
def test_numbers_with_an_exponent_are_numbers(tmp_path, text):
    assert load_config(CONFIGS / "smoke.yaml", [f"fits.final.learning_rate={text}"]).fits["final"].learning_rate == 1e-3
    (tmp_path / "own.yaml").write_text(
        f"extends: {CONFIGS / 'smoke.yaml'}\nfits: {{final: {{learning_rate: {text}}}}}\n"
    )
    assert load_config(tmp_path / "own.yaml").fits["final"].learning_rate == 1e-3


@pytest.mark.parametrize(
    ("helper", "words"), [("final", "'final' does not segment"), ("tumor", "exported net does not")]
)
def test_a_net_for_tumours_needs_tumours_in_both_nets(helper, words):
    overrides = [f"export.tumour={helper}", "nets.final.segments=[liver]"]
    with pytest.raises(UsageError, match=words):
        load_config(CONFIGS / "smoke.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("nonsense", "nonsense"),
        ("fits.final.epoch=3", "unknown key 'epoch'"),
        ("seed=red", "seed cannot be 'red', expected a whole number"),
        ("seed=true", "seed cannot be True"),
        ("nets.final.patch_zyx=[32, 40]", "expected 3 values"),
        ("nets.final.patch_zyx=[32, 40, 50]", "nets: final: .*strides"),
        ("nets.final.filters=[8]", "nets: final"),
        ("nets.final.windows=open", "expected one of fixed, fitted"),
        ("nets.final.segments=[heart]", "heart"),
        ("nets.final.components={heart: {minimum_ml: 1.0}}", "nets: final: it does not segment 'heart'"),
        ("nets.final.deep_supervision=3", "2 deep outputs at most"),
        ("nets.final.mirror_sides=true", "its net has mirror_sides, but the fit sees no mirrored patches"),
        ("nets.final.mirror_axes=[0]", "its net has mirror_axes, but"),
        ("fits.final.net=none", "there is no net 'none'"),
        ("fits.final.start=nowhere", "'nowhere' is neither a fit nor a model"),
        ("fits.final.start=final", "the fit itself"),
        ("fits.final.sources=[moon]", "no source 'moon'"),
        ("fits.final.learning_rate=0", "more than 0"),
        ("fits.final.teacher=tumor", "teacher belongs to the task 'distill'"),
        ("fits.other={net: final, epochs: 1}", "give its stage"),
        ("export.significant_bits=12", "from 2 to 11"),
        ("fits.final.optimizer=lion", "expected one of sgd, adamw, muon"),
        ("export.fit=first", "no fit 'first' in fits, nor a model"),
        ("export.fit=default", "'default' is a model already"),
        (
            "export={fit: default, tumour: tumor, suppressed: [liver]}",
            "'default' is a model; coarse and suppressed are",
        ),
        ("export={fit: default, tumour: tumor, components: {heart: {}}}", "does not segment 'heart'"),
        ("export={fit: default, tumour: tumor, components: {liver: {least_ml: 2}}}", "export: .*least_ml"),
        ("export.components={liver: {minimum_ml: 2.0}}", "components of a fit stand beside its net"),
        ("export.lesions={lead: 1.0, peak: 0.5}", "peak of lesions is at least their lead"),
        ("export.suppressed=[heart]", "does not segment 'heart', which is to be suppressed"),
        ("sources.own={layout: cases, path: /no/such/folder}", "'/no/such/folder' of the source 'own' does not exist"),
        ("sources.own={layout: dicomdir, path: .}", "expected one of cases"),
        (
            "sources.own={layout: cases, path: ., absent: [tumour], in_part: [tumour]}",
            "'own' has 'tumour' in_part, and annotated or absent as well",
        ),
        ("sources.phantoms={layout: cases, path: .}", "are called 'phantoms'"),
        ("pseudo.tumour_fit=pretrained", "no fit 'pretrained'"),
        ("fits.final.emphasis={heart: 2}", "emphasis is a number from 0 up"),
        ("fits.final.emphasis={liver: -1}", "emphasis is a number from 0 up"),
        ("new_patients={cases: [mine/a], count: 1}", "no source 'mine' of the layout 'cases'"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(override, words):
    with pytest.raises(UsageError, match=words) as caught:
        load_config(CONFIGS / "smoke.yaml", [override])
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path):
    data = yaml.safe_load((CONFIGS / "smoke.yaml").read_text())
    del data["fits"]["final"]["epochs"]
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(UsageError, match="fits: final: 'epochs' is missing"):
        load_config(path)


def test_a_configuration_extends_another_one(tmp_path):
    (tmp_path / "below.yaml").write_text((CONFIGS / "smoke.yaml").read_text())
    (tmp_path / "above.yaml").write_text("extends: below.yaml\nfits: {final: {epochs: 2}}\n")
    config = load_config(tmp_path / "above.yaml")
    assert config.fits["final"].epochs == 2
    assert config.fits["final"].net == "final"


def test_an_override_of_a_shared_table_leaves_the_others_alone(tmp_path):
    (tmp_path / "shared.yaml").write_text(
        f"extends: {CONFIGS / 'smoke.yaml'}\n"
        "fits:\n  tumor: {augment: &a {noise: 0.25}}\n  final: {augment: *a}\n"
    )
    config = load_config(tmp_path / "shared.yaml", ["fits.tumor.augment.noise=0.75"])
    assert (config.fits["tumor"].augment.noise, config.fits["final"].augment.noise) == (0.75, 0.25)


@pytest.mark.parametrize("text", ["a: [1", "- a list", "extends: self.yaml", "extends: [1]"])
def test_a_missing_or_broken_file_is_named(tmp_path, text):
    with pytest.raises(UsageError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "self.yaml"
    broken.write_text(text)
    with pytest.raises(UsageError, match=r"self\.yaml"):
        load_config(broken)
