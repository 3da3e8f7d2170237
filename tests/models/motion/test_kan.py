"""Kolmogorov–Arnold layers compute the golden numbers, and their curves are B-splines."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.kan import (
    KAN,
    KANConfig,
    KANLayer,
    are_even,
    even_cubic_bases,
    spline_bases,
    uniform_knots,
)

from ...golden_recipe import error, golden, state


@pytest.fixture(scope="module")
def published():
    return checkpoints.load("atl_diff/kflm", state("keys_atldiff_kflm_head", "KFLM")).kan


def test_both_layers_give_the_golden_numbers(published):
    numbers = golden("atldiff_kflm")
    assert error(published.layers[0](numbers["kan_in"])[:, ::4], numbers["kan_l0"]) < 1e-5
    assert error(published(numbers["kan_in"]), numbers["kan_out"]) < 1e-5


def test_knots_and_bases_are_the_golden_ones():
    numbers = golden("atldiff_kflm")
    knots = uniform_knots(KANConfig())
    assert torch.allclose(knots, numbers["kan_grid"], atol=1e-6)
    found = spline_bases(numbers["kan_basis_x"][:, None], numbers["kan_grid"][None], 3)[:, 0]
    assert torch.allclose(found, numbers["kan_basis"], atol=2e-6)


@pytest.mark.parametrize(("intervals", "order"), [(5, 3), (4, 2), (7, 1)])
def test_bases_add_up_to_one_between_the_inner_knots_and_vanish_outside(intervals, order):
    knots = uniform_knots(KANConfig(intervals=intervals, order=order))[None]
    inside = spline_bases(torch.linspace(-0.999, 0.999, 50)[:, None], knots, order)
    assert inside.shape == (50, 1, intervals + order)
    assert torch.allclose(inside.sum(-1), torch.ones(50, 1), atol=1e-5)
    outside = spline_bases(torch.tensor([[-9.0], [9.0]]), knots, order)
    assert not outside.any()


def test_even_knots_take_a_shorter_way_to_the_same_bases():
    knots = uniform_knots(KANConfig()).expand(7, -1)
    x = 1.2 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    assert are_even(knots)
    assert torch.allclose(even_cubic_bases(x, knots), spline_bases(x, knots, 3), atol=1e-6)
    bent, apart = knots.clone(), knots.clone()
    bent[:, 4] += 0.01
    apart[3] += 0.1
    assert not are_even(bent)
    assert not are_even(apart)


def test_a_layer_can_learn_a_curve_that_no_linear_layer_can():
    torch.manual_seed(0)
    layer = KANLayer(1, 1, KANConfig(widths=(1, 1)))
    x = torch.linspace(-1, 1, 200)[:, None]
    target = torch.sin(3 * x)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(300):
        loss = (layer(x) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.003


def test_any_leading_axes_work_and_rows_stand_for_themselves():
    torch.manual_seed(0)
    network = KAN(KANConfig(widths=(5, 7, 3)))
    x = torch.randn(2, 4, 5)
    assert network(x).shape == (2, 4, 3)
    assert torch.allclose(network(x)[1, 2], network(x[1, 2]), atol=1e-6)
