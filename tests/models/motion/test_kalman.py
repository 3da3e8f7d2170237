"""The smoother has the published program's numbers, and forgets nothing at the ends."""

import numpy as np
import torch
from soliloquy.models.motion import kalman

from ...helpers import ROOT


def test_smoothing_gives_the_reference_numbers():
    with np.load(ROOT / "tests" / "golden" / "misc.npz") as golden:
        given, wanted = (torch.from_numpy(golden[name]) for name in ("kal_in", "kal_out"))
    smoothed = kalman.smooth(given.double())
    assert torch.allclose(smoothed, wanted, atol=1e-12)


def test_every_channel_is_smoothed_by_itself():
    values = torch.randn(40, 3, 2, generator=torch.Generator().manual_seed(0))
    together = kalman.smooth(values)
    assert together.shape == values.shape
    assert together.dtype == values.dtype
    assert torch.equal(together[:, 1, 1], kalman.smooth(values[:, 1, 1]))


def test_one_frame_and_constants_stay_what_they_are():
    assert torch.equal(kalman.smooth(torch.tensor([[3.0, -1.0]])), torch.tensor([[3.0, -1.0]]))
    constant = torch.full((30, 2), 7.5)
    assert torch.allclose(kalman.smooth(constant), constant)


def test_more_measurement_noise_means_a_smoother_course():
    values = torch.randn(200, generator=torch.Generator().manual_seed(1))

    def roughness(measurement):
        return kalman.smooth(values, 0.05, measurement).diff().square().mean()

    assert roughness(1.0) < 0.5 * roughness(0.01)
