"""A convolution of an enlarged picture equals its phases."""

import pytest
import torch
import torch.nn.functional as F
from soliloquy.models.render.liveportrait.upsampled import UpsampledConv, phase_state


@pytest.mark.parametrize("factor", [2, 4])
def test_phases_equal_the_convolution_of_the_enlarged_picture(factor):
    torch.manual_seed(factor)
    x, weight, bias = torch.randn(2, 5, 6, 7), torch.randn(4, 5, 3, 3), torch.randn(4)
    layer = UpsampledConv(5, 4, factor)
    state = {"conv.weight": weight, "conv.bias": bias}
    layer.load_state_dict(
        {
            key.removeprefix("up."): value
            for key, value in phase_state(state, "conv", "up", factor).items()
        }
    )
    assert not state
    expected = F.relu(F.conv2d(F.interpolate(x, scale_factor=factor), weight, bias, padding=1))
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-5)


def test_depth_is_convolved_but_not_enlarged():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 3, 4, 5, 6), torch.randn(2, 3, 3, 3, 3), torch.randn(2)
    layer = UpsampledConv(3, 2, dims=3)
    entries = phase_state({"conv.weight": weight, "conv.bias": bias}, "conv", "up")
    layer.load_state_dict({key.removeprefix("up."): value for key, value in entries.items()})
    large = F.interpolate(x, scale_factor=(1, 2, 2))
    expected = F.relu(F.conv3d(large, weight, bias, padding=1))
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-5)


def test_a_convolution_of_another_size_is_left_for_the_strict_load_to_name():
    state = {"conv.weight": torch.zeros(2, 3, 1, 1), "conv.bias": torch.zeros(2)}
    assert phase_state(state, "conv", "up") == {}
    assert phase_state(state, "absent", "up") == {}
    assert len(state) == 2
