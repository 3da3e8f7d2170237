"""Training batches."""

import numpy as np
import torch
from soliloquy.models.speech import mel
from soliloquy.training import speech_data
from soliloquy.training.phones import Segment
from soliloquy.training.speech_data import FRAMES, Crop, batches, collate, emphasise
from soliloquy.training.synthesis import Utterance
from soliloquy.training.visemes import PARTED


def spoken(seconds: float = 4.0) -> Utterance:
    """Noise bursts of 0.2 s at every full second, which are called an open vowel."""
    sound = np.zeros(int(seconds * 16000), np.int16)
    segments = []
    source = np.random.default_rng(0)
    for second in range(int(seconds)):
        sound[second * 16000 : second * 16000 + 3200] = source.normal(0, 3000, 3200)
        segments += [Segment("a", second, second + 0.2), Segment("", second + 0.2, second + 1)]
    return Utterance(sound=sound, segments=segments, voice="x")


def test_batches_have_the_shapes_the_network_wants():
    torch.manual_seed(0)
    batch = next(batches({"x": [spoken()]}, 3, seed=0))
    assert batch.seen.shape == (3, 2 * FRAMES, mel.BINS)
    assert batch.track.shape == (3, FRAMES, 4)
    assert batch.phones.shape == (3, FRAMES)
    assert batch.seen.isfinite().all()


def lag(clean: bool) -> float:
    """By how many frames the lips are late, the median over some crops."""
    torch.manual_seed(0)
    data = batches({"x": [spoken(), spoken()]}, 4, seed=1, clean=clean)
    found = []
    for _ in range(4):
        batch = next(data)
        loud = batch.seen.mean(-1)[:, ::2]
        for row, lips in zip(loud, batch.track[..., 0], strict=True):
            track = (lips - PARTED).clamp(min=0)  # while the vowel sounds
            if track.std() > 0:
                lags = range(-8, 9)
                r = [float(torch.corrcoef(torch.stack([row.roll(k), track]))[0, 1]) for k in lags]
                found.append(lags[int(np.argmax(r))])
    assert len(found) > 8
    return float(np.median(found))


def test_lips_and_sound_stay_together():
    assert abs(lag(clean=True)) <= 1  # frames of 20 ms


def test_augmentation_does_not_move_lips_against_sound():
    assert abs(lag(clean=False) - lag(clean=True)) <= 1.5  # rooms make sounds end later


def test_louder_syllables_open_the_lips_wider():
    torch.manual_seed(0)
    sound, track = torch.ones(16, FRAMES * 320), torch.ones(16, FRAMES, 4)
    louder, opened = emphasise(sound, track)
    gain = louder[:, ::320]
    assert (
        float(torch.corrcoef(torch.stack([gain.flatten(), opened[..., 0].flatten()]))[0, 1]) > 0.9
    )
    assert torch.equal(opened[..., 1:], track[..., 1:])


def test_clean_batches_see_what_the_encoder_sees():
    sound = torch.randn(1, FRAMES * 320, generator=torch.Generator().manual_seed(0)) * 0.1
    piece = Crop(
        sound=sound[0],
        track=torch.zeros(FRAMES, 4),
        phones=torch.zeros(FRAMES, dtype=torch.long),
        sentences=[],
    )
    seen = collate([piece], clean=True).seen
    spectrum = mel.log_mel(sound[0])
    wanted = mel.normalise(spectrum, mel.average(mel.stream(sound[0])))
    torch.testing.assert_close(seen[0], wanted[: 2 * FRAMES], atol=0.02, rtol=0)
    assert speech_data.FRAME_RATE == 50
