"""KSDiff's losses where the answer is known."""

import math

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.training import ksdiff_losses as losses


def wave(frequency: float, phase: float = 0.0, size: float = 1.0) -> torch.Tensor:
    """One coefficient of 100 frames at 25 frames/s, `[1, 100, 1]`."""
    return size * torch.sin(2 * math.pi * frequency * torch.arange(100) / 25 + phase)[None, :, None]


@pytest.mark.parametrize(
    "loss",
    [
        losses.position_loss,
        losses.velocity_loss,
        losses.spectral_loss,
        losses.dynamics_loss,
    ],
)
def test_the_truth_costs_nothing_and_anything_else_something(loss):
    assert float(loss(wave(2), wave(2))) == pytest.approx(0, abs=1e-5)
    assert float(loss(wave(2, size=0.5), wave(2))) > 0.1


def test_spectra_are_what_fourier_says():
    x = torch.randn(2, 40, 3)
    ours = losses.spectrum(x, 16)
    theirs = torch.stft(
        x.transpose(1, 2).flatten(0, 1),
        16,
        4,
        window=torch.hann_window(16),
        center=False,
        return_complex=True,
    ).abs()
    wanted = theirs.view(2, 3, 9, -1).transpose(2, 3)
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)


def test_spectra_forgive_a_shift_in_time_and_not_a_loss_of_movement():
    shifted = losses.spectral_loss(wave(4, phase=1.5), wave(4))
    mumbled = losses.spectral_loss(wave(4, size=0.3), wave(4))
    assert float(shifted) < 0.5 * float(mumbled)
    position = losses.position_loss
    assert float(position(wave(4, phase=1.5), wave(4))) > float(position(wave(4) * 0.3, wave(4)))


def test_noise_takes_weight_from_a_clip():
    weight = losses.noise_weight(torch.tensor([0.0, 0.5, 0.9999]))
    assert weight.tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert losses.noise_weight(torch.zeros(1), floor=0.3).item() == pytest.approx(0.3)


def test_frames_near_keyframes_count_up_to_twice():
    marks = torch.zeros(1, 20)
    marks[0, 10] = 1
    weight = losses.emphasis(marks)
    assert weight[0, 10] == 2
    assert weight[0, 9] == weight[0, 11] == pytest.approx(1.607)
    assert weight[0, 5] == 1


def test_lips_are_compared_where_they_are_seen():
    truth = torch.zeros(1, 50, 52)
    truth[..., INDEX["jawOpen"]] = 0.3 + 0.2 * torch.sin(torch.arange(50) * 0.6)
    brows = truth.clone()
    brows[..., INDEX["browInnerUp"]] += 0.5
    off, miss = losses.lip_loss(brows, truth)
    assert float(off) < 1e-3
    jaw = truth.clone()
    jaw[..., INDEX["jawOpen"]] = 0.6 - jaw[..., INDEX["jawOpen"]]
    off, miss = losses.lip_loss(jaw, truth)
    assert float(off) > 0.5
    assert float(miss) > 1.3  # opening where it should close
