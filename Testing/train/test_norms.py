"""The faster norm is the same norm."""

import torch
from torch import nn

from train.training.norms import PatchNorm, use_patch_norms


def a_network() -> nn.Sequential:
    torch.manual_seed(1)
    block = nn.Sequential(nn.Conv3d(1, 4, 3), nn.InstanceNorm3d(4, eps=1e-3, affine=True))
    nn.init.normal_(block[1].weight)
    nn.init.normal_(block[1].bias)
    return nn.Sequential(block, nn.LeakyReLU(0.01), nn.InstanceNorm3d(4))


def test_outputs_and_gradients_are_those_of_instance_norms_whatever_the_batch_and_mode():
    for batch in (1, 2):
        for training in (True, False):
            image = torch.randn(batch, 1, 6, 7, 8)
            plain, exchanged = a_network().train(training), a_network().train(training)
            use_patch_norms(exchanged)
            expected, found = plain(image), exchanged(image)
            torch.testing.assert_close(found, expected)
            expected.square().sum().sin().backward()
            found.square().sum().sin().backward()
            for theirs, ours in zip(plain.parameters(), exchanged.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4)


def test_every_instance_norm_is_exchanged_and_names_and_parameters_stay():
    network = a_network()
    before = dict(network.named_parameters())
    use_patch_norms(network)
    assert [type(module) for module in network.modules()].count(PatchNorm) == 2
    assert {name: id(value) for name, value in network.named_parameters()} == {n: id(v) for n, v in before.items()}
