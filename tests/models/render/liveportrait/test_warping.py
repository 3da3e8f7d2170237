"""The warping network: its shortcuts are exact, and its output is the golden one."""

import torch
import torch.nn.functional as F
from soliloquy.benchmarks import liveportrait_plain
from soliloquy.models.render.liveportrait.warping import (
    WarpingNetwork,
    gaussians,
    identity_grid,
    shift_volume,
)

from ....pseudo_weights import given
from .parity import error, golden, keypoints, network, published, warped

SIZE = (4, 6, 5)


def test_shifting_equals_sampling_the_shifted_grid():
    volume, shift = given("volume", (2, 3, *SIZE)), given("shift", (2, 4, 3), 0.6)
    shift[0, 0] = 0
    found = shift_volume(volume, shift)
    grid = identity_grid(SIZE, volume.device)
    for k in range(4):
        shifted = grid + shift[:, k, None, None, None]
        expected = F.grid_sample(volume, shifted, align_corners=False)
        torch.testing.assert_close(found[:, k], expected, atol=1e-5, rtol=1e-5)


def test_gaussians_are_around_their_keypoints():
    points = given("points", (2, 3, 3), 0.4)
    offset = identity_grid(SIZE, points.device) - points[:, :, None, None, None]
    expected = torch.exp(-50 * offset.square().sum(-1))
    torch.testing.assert_close(gaussians(points, SIZE), expected, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_a_small_volume_is_warped_as_the_plain_network_does():
    volume = given("small", (1, 32, 16, 32, 32))
    expected = liveportrait_plain.warping(published("warping"), volume, *keypoints())
    found = network("warping")(volume, *keypoints())
    assert error(found, expected) < 5e-5


def test_features_are_the_golden_ones():
    features, deformation, occlusion = warped()
    assert features.shape == (1, 256, 64, 64)
    assert error(features[:, ::8, ::4, ::4], golden("W_out_sub")) < 5e-5
    assert error(deformation[:, ::3, ::8, ::8], golden("W_def_sub")) < 1e-5
    assert error(occlusion[:, :, ::2, ::2], golden("W_occ")) < 5e-5


@torch.no_grad()
def test_frames_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    warping = WarpingNetwork(hourglass=(4, 4)).eval()
    volume, (source, driving) = torch.randn(1, 32, 16, 8, 8), keypoints()
    prepared = warping.prepare(volume, source)
    both = warping.warp(prepared, torch.cat([source, driving]))
    torch.testing.assert_close(both[1:], warping.warp(prepared, driving), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_coordinates_stay_in_float32_when_the_network_does_not():
    torch.manual_seed(1)
    warping = WarpingNetwork(hourglass=(4, 4)).eval()
    volume, (source, driving) = torch.randn(1, 32, 16, 4, 4), keypoints()
    expected = warping(volume, source, driving)
    half = warping.bfloat16()
    prepared = half.prepare(volume.bfloat16(), source)
    deformation, _ = half.motion_field(prepared, driving)
    assert deformation.dtype == torch.float32
    found = half.warp(prepared, driving)
    assert found.dtype == torch.bfloat16
    assert error(found.float(), expected) < 0.1
