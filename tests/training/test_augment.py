"""What augmentation may change and what it must leave alone."""

import pytest
import torch
from soliloquy.models.speech import mel
from soliloquy.training import augment


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def bursts(batch: int = 8) -> torch.Tensor:
    """A second with a burst of noise at 0.5 s."""
    sound = torch.zeros(batch, 16000)
    sound[:, 8000:8800] = torch.randn(batch, 800) * 0.2
    return sound


def test_a_room_does_not_move_the_voice_in_time():
    wet = augment.reverberate(bursts(), probability=1.0)
    assert wet.shape == (8, 16000)
    assert float(wet[:, :7990].abs().max()) < 1e-4
    loudest = wet.unfold(-1, 400, 400).square().sum(-1).argmax(-1)
    assert bool(((loudest >= 20) & (loudest <= 23)).all())


@pytest.mark.parametrize("make", [augment.coloured_noise, augment.tones])
def test_noise_has_unit_power(make):
    noise = make(3, 16000)
    torch.testing.assert_close(noise.std(-1), torch.ones(3), atol=0.05, rtol=0)


def test_noise_of_every_kind_can_be_mixed_in_even_into_silence():
    for batch in (1, 2, 8):
        for _ in range(5):
            assert augment.add_noise(torch.zeros(batch, 4000)).isfinite().all()


def test_warping_the_tract_moves_formants_and_keeps_time():
    spectrum = torch.zeros(64, 20, mel.BINS)
    spectrum[:, 10, 30] = 1.0
    warped = augment.warp_tract(spectrum)
    peaks = warped[:, 10].argmax(-1)
    assert 26 <= int(peaks.min()) < 30 < int(peaks.max()) <= 35
    assert float(warped[:, :10].abs().max()) == 0.0


def test_masks_blank_only_a_part():
    masked = augment.mask(torch.ones(32, 512, mel.BINS))
    assert 0.85 < float(masked.mean()) < 1.0


def test_an_equaliser_is_the_same_at_all_times():
    change = augment.equalise(torch.zeros(4, 30, mel.BINS))
    assert float((change - change[:, :1]).abs().max()) == 0.0
