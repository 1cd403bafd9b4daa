"""The table of tensors that `parameter_shapes` works out is that of the network that MONAI builds."""

from __future__ import annotations

import pytest

from flareseg.errors import ModelError
from flareseg.model.networks.dynunet import dynunet_spec
from flareseg.model.networks.registry import build_network, load_weights, own_weights, parameter_shapes
from flareseg.model.networks.spec import NetworkSpec
from flareseg.model.plan import Intensity, Plan


def make_plan(network: NetworkSpec, classes: int = 3) -> Plan:
    return Plan(
        spacing_zyx_mm=(3.0, 3.0, 3.0),
        patch_zyx=(32, 32, 32),
        intensity=Intensity((-200.0, 300.0), 50.0, 90.0),
        network=network,
        labels={value: f"structure{value}" for value in range(classes)},
    )


@pytest.mark.parametrize(
    "network",
    [
        dynunet_spec([2, 4, 4]),
        dynunet_spec([3, 5, 7, 9]),
        dynunet_spec([4, 6, 8], [[1, 3, 3], 3, 3], [1, [1, 2, 2], 2]),
        dynunet_spec([2, 4, 6, 8], [[1, 3, 3], [1, 3, 3], [3, 3, 3], 3], [[1, 1, 1], [1, 2, 2], [2, 2, 2], 2]),
        dynunet_spec([4, 4, 8], [3, 5, 7]),
        dynunet_spec([2, 3, 4, 5, 6], strides=[1, 2, 4, [1, 1, 1], [4, 2, 1]]),
        dynunet_spec([2, 2, 2, 2, 2, 2, 2, 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("classes", [2, 15])
def test_names_and_shapes_are_those_of_the_built_network(network: NetworkSpec, classes: int) -> None:
    plan = make_plan(network, classes)
    built = own_weights(build_network(plan).state_dict())
    assert parameter_shapes(plan) == {name: tuple(value.shape) for name, value in built.items()}


def test_weights_of_these_names_fill_every_tensor_of_a_network() -> None:
    plan = make_plan(dynunet_spec([4, 6, 8], [[1, 3, 3], 3, 3], [1, [1, 2, 2], 2]))
    source, target = build_network(plan), build_network(plan)
    load_weights(target, {name: source.state_dict()[name] for name in parameter_shapes(plan)})
    # State dicts here, with the entries that DynUNet has twice: a layer that was missed would keep its random values.
    expected = source.state_dict()
    assert all(value.equal(expected[name]) for name, value in target.state_dict().items())


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (NetworkSpec("UNETR", {}), "builds 'DynUNet' and 'UNet' only"),
        (dynunet_spec([2, 4]), "2 stages"),
        (dynunet_spec([2] * 9), "9 stages"),
        (dynunet_spec([2, 4, 4], [3, 3]), "a stride for each"),
        (dynunet_spec([2, 4, 5000]), "filters"),
        (dynunet_spec([2, 4, 4], [3, 4, 3]), "kernels"),
        (dynunet_spec([2, 4, 4], [3, 9, 3]), "kernels"),
        (dynunet_spec([2, 4, 4], strides=[1, 5, 2]), "strides"),
        (dynunet_spec([2, 4, 4], strides=[2, 2, 2]), "the first must be 1"),
    ],
    ids=str,
)
def test_a_network_outside_the_bounds_is_neither_tabled_nor_built(network: NetworkSpec, words: str) -> None:
    plan = make_plan(network)
    with pytest.raises(ModelError, match=words):
        parameter_shapes(plan)
    with pytest.raises(ModelError, match=words):
        build_network(plan)
