"""The bundled motion model: lips that follow real voices."""

import shutil
import subprocess

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion import starter
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.payloads import Motion, PayloadError, Speech, Timeline
from soliloquy.models.speech import starter as speech_starter
from soliloquy.models.speech.audio import read_sound

from ...helpers import shared

JAW = INDEX["jawOpen"]


def aperture(motion: Motion) -> torch.Tensor:
    """The inner-lip gap on the mean face, inter-ocular distances."""
    points = load_rig().landmarks(motion.values)
    return (points[:, 62] - points[:, 66]).norm(dim=-1)


def speak(sound: torch.Tensor, sample_rate: int, fps: float = 25, seed: int = 0) -> Motion:
    timeline = Timeline.for_sound(sound.shape[1], sample_rate, fps)
    speech = speech_starter.load().encode(sound, sample_rate, timeline)
    return starter.load().sample(speech, seed=seed)


def synthesise(text: str, folder) -> tuple[torch.Tensor, list[tuple[str, float, float]]]:
    if not shutil.which("flite"):
        pytest.skip("flite is not installed, so there is no speech with known phone times")
    path = folder / "speech.wav"
    command = ["flite", "-voice", "slt", "-psdur", "-t", text, "-o", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ends = [(name, float(end)) for name, end in (item.split(":") for item in told.split())]
    starts = [0.0] + [end for _, end in ends[:-1]]
    return read_sound(path)[1], [
        (name, start, end) for start, (name, end) in zip(starts, ends, strict=True)
    ]


def test_the_lips_close_within_a_frame_of_every_p_b_and_m(tmp_path):
    text = "My happy baby may buy a big purple map, or maybe a better bubble."
    sound, phones = synthesise(text, tmp_path)
    motion = speak(sound, 16000)
    gap = aperture(motion).numpy()
    misses = []
    for name, start, end in phones:
        if name in ("p", "b", "m"):
            first, last = int(start * 25) - 1, int(end * 25) + 1
            misses.append(gap[max(first, 0) : last + 1].min() > 0.35 * np.quantile(gap, 0.9))
    assert np.mean(misses) < 0.1


def test_the_lips_keep_time_with_the_sound(tmp_path):
    """Open vowels between closed lips: the opening is centred on the vowel within a frame."""
    sound, phones = synthesise("Bob, pop, mob, bob, mop, pop, bob.", tmp_path)
    fps = 100
    gap = aperture(speak(sound, 16000, fps)).numpy()
    truth = np.zeros_like(gap)
    for name, start, end in phones:
        if name == "aa":
            truth[int(start * fps) : int(end * fps)] = 1
    lags = range(-12, 13)
    agreement = [np.corrcoef(truth, np.roll(gap, lag))[0, 1] for lag in lags]
    assert abs(lags[int(np.argmax(agreement))]) <= 4  # hundredths of a second; a frame is 4
    assert max(agreement) > 0.6


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1])
def test_the_mouth_stays_closed_without_a_voice(level):
    noise = torch.randn(1, 48000, generator=torch.Generator().manual_seed(0)) * level
    jaw = speak(noise, 16000).values[:, JAW]
    assert float(jaw[10:-10].max()) < 0.03
    assert float(jaw.max()) < 0.2  # where noise starts or stops at once, it passes for an h or s


@pytest.mark.parametrize(
    "name", ["english_16k_stereo_8s.wav", "british_44k_stereo_10s.wav", "russian_48k_stereo_6s.wav"]
)
def test_real_voices_open_the_mouth_naturally(name):
    copy = read_sound(shared(f"data/speech/{name}"))[1]
    jaw = speak(copy, 16000).values[:, JAW]
    assert 0.25 < float(jaw.quantile(0.97)) < 0.75
    assert float(jaw.min()) < 0.1


def test_the_mouth_is_at_rest_in_long_pauses():
    copy = read_sound(shared("data/speech/english_16k_stereo_8s.wav"))[1]
    pause = torch.zeros(1, 48000)
    gap = aperture(speak(torch.cat([pause, copy, pause], 1), 16000))
    assert float(gap[:50].max()) < 0.15 * float(gap.max())
    assert float(gap[-45:].max()) < 0.15 * float(gap.max())


def test_lips_do_not_jitter():
    copy = read_sound(shared("data/speech/english_16k_stereo_8s.wav"))[1]
    jaw = speak(copy, 16000, fps=50).values[:, JAW]
    power = torch.fft.rfft(jaw - jaw.mean()).abs().square()
    frequency = torch.fft.rfftfreq(len(jaw), 1 / 50)
    assert float(power[frequency > 12].sum() / power.sum()) < 0.03


def test_only_the_seed_moves_the_head_and_the_mouth_ignores_it():
    noise = torch.randn(1, 80000, generator=torch.Generator().manual_seed(0)) * 0.1
    one, same, other = (speak(noise, 16000, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.values, same.values)
    assert torch.equal(one.rotation, same.rotation)
    assert not torch.equal(one.rotation, other.rotation)
    assert torch.equal(one.values[:, JAW], other.values[:, JAW])


def test_features_of_another_encoder_are_refused():
    timeline = Timeline.for_frames(4, 25)
    speech = Speech(streams={"expression": torch.zeros(4, 7)}, timeline=timeline)
    with pytest.raises(PayloadError, match="7 channels"):
        starter.load().sample(speech)
    with pytest.raises(PayloadError, match="'expression'"):
        starter.load().sample(Speech(streams={}, timeline=timeline))


def test_a_file_without_channel_names_is_refused():
    state = {"lips.weight": torch.zeros(3, 8), "lips.bias": torch.zeros(3)}
    with pytest.raises(checkpoints.CheckpointError, match="channels"):
        checkpoints.load("starter_motion", state)
