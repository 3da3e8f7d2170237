"""Speech features are the published ones, for any sound and any frame rate."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.speech import wav2lip
from soliloquy.models.speech.wav2lip import (
    BLOCKS,
    RESIDUAL,
    Wav2LipSpeechEncoder,
    mel_spectrum,
    mel_windows,
    mono_16k,
    window_starts,
)

from ...helpers import shared
from ...pseudo_weights import relative_error, state_dict

RATE = 16000


def published(tag="A", width=32):
    """The audio half of a generator as published."""
    shapes, inputs = {}, 1
    for i, (factor, kernel, _, _) in enumerate(BLOCKS):
        name = f"audio_encoder.{i}.conv_block"
        outputs = width * factor
        shapes[f"{name}.0.weight"] = (outputs, inputs, kernel, kernel)
        for entry in ("0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"):
            shapes[f"{name}.{entry}"] = (outputs,)
        inputs = outputs
    return state_dict(shapes, tag)


def small():
    return Wav2LipSpeechEncoder(checkpoints.load("wav2lip_audio", published("small", width=3)))


def voice(seconds, rate=RATE, channels=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(channels, int(seconds * rate), generator=random) * 0.1


def reference_sound():
    import soundfile

    file = shared("data/speech/hdtf_16k_stereo_8s.wav")
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def golden():
    with np.load(shared("golden/kdtalker_liveportrait/kdtalker.npz")) as stored:
        return {name: stored[name] for name in ("mel_full", "mel_start_idx", "aud_feat")}


def test_mel_and_features_of_a_real_sound_are_the_golden_ones():
    waveform, rate = reference_sound()
    mel = mel_spectrum(mono_16k(waveform, rate)[: 200 * 640])
    assert relative_error(mel, golden()["mel_full"]) < 1e-6
    encoder = Wav2LipSpeechEncoder(checkpoints.load("wav2lip_audio", published()))
    timeline = Timeline.for_sound(waveform.shape[1], rate, 25)
    stream = encoder.encode(waveform, rate, timeline).streams["wav2lip"]
    assert stream.shape == (201, 512)
    assert relative_error(stream[:200], golden()["aud_feat"]) < 1e-5


def test_windows_start_where_the_reference_starts_them():
    starts = window_starts(200, Fraction(25)).numpy()
    assert (starts == golden()["mel_start_idx"]).all()
    assert starts[:5].tolist() == [-6, -3, 0, 3, 6]


@pytest.mark.parametrize("fps", ["24000/1001", 12, 30, 50, 120])
def test_windows_keep_their_distance_to_the_frame_at_any_rate(fps):
    timeline = Timeline.for_sound(20 * RATE, RATE, fps)
    starts = window_starts(timeline.num_frames, timeline.fps)
    centres = timeline.frame_centres()
    late = (starts - 80 * (centres - 0.1)).abs()
    assert late.max() < 1


def test_mel_does_not_depend_on_the_piece_it_is_computed_in(monkeypatch):
    sound = voice(3.7)[0]
    whole = mel_spectrum(sound)
    monkeypatch.setattr(wav2lip, "PIECE", 17)
    assert torch.allclose(mel_spectrum(sound), whole, atol=1e-6)
    assert whole.shape == (1 + len(sound) // 200, 80)
    assert whole.abs().max() <= 4


def test_silence_is_the_lowest_value_and_the_ends_repeat():
    mel = mel_spectrum(torch.zeros(3200))
    assert torch.equal(mel, torch.full((17, 80), -4.0))
    windows = mel_windows(torch.arange(20.0)[:, None].expand(20, 80), torch.tensor([-6, 15]))
    assert windows.shape == (2, 1, 80, 16)
    assert windows[0, 0, 0].tolist() == [0.0] * 7 + [float(i) for i in range(1, 10)]
    assert windows[1, 0, 79].tolist() == [15.0, 16.0, 17.0, 18.0] + [19.0] * 12


@pytest.mark.parametrize("width", [3, 32])
def test_folded_network_equals_convolution_then_norm(width):
    state = published("B", width)
    mel = torch.randn(5, 1, 80, 16, generator=torch.Generator().manual_seed(0))
    x = mel
    for i, (_, _, stride, padding) in enumerate(BLOCKS):
        p = {k.split("conv_block.")[1]: v for k, v in state.items() if f"encoder.{i}.conv" in k}
        y = torch.nn.functional.conv2d(x, p["0.weight"], p["0.bias"], stride, padding)
        y = torch.nn.functional.batch_norm(
            y, p["1.running_mean"], p["1.running_var"], p["1.weight"], p["1.bias"]
        )
        x = torch.relu(y + x if i in RESIDUAL else y)
    found = checkpoints.load("wav2lip_audio", state)(mel)
    assert found.shape == (5, 16 * width)
    assert relative_error(found, x.flatten(1)) < 1e-5


def test_the_whole_generator_with_its_wrapper_loads_and_the_face_half_is_dropped(tmp_path):
    state = {f"module.{key}": value for key, value in published(width=3).items()}
    state["module.audio_encoder.0.conv_block.1.num_batches_tracked"] = torch.tensor(7)
    state["module.face_encoder_blocks.0.0.conv_block.0.weight"] = torch.zeros(16, 6, 7, 7)
    state["module.output_block.1.bias"] = torch.zeros(3)
    path = tmp_path / "wav2lip.pth"
    torch.save({"state_dict": state, "global_step": 1, "optimizer": None}, path)
    mel = torch.randn(2, 1, 80, 16)
    expected = checkpoints.load("wav2lip_audio", published(width=3))(mel)
    assert torch.equal(wav2lip.load(path=path).network(mel), expected)


def test_wrong_files_are_refused():
    with pytest.raises(CheckpointError, match=r"wav2lip\.pth"):
        wav2lip.load()
    with pytest.raises(CheckpointError, match="not a Wav2Lip file"):
        checkpoints.load("wav2lip_audio", {"module.face_decoder.0.weight": torch.zeros(2)})
    state = published(width=3)
    del state["audio_encoder.4.conv_block.1.running_mean"]
    with pytest.raises(CheckpointError, match="unexpected"):
        checkpoints.load("wav2lip_audio", state)
    state = published(width=3)
    state["audio_encoder.5.conv_block.0.weight"] = torch.zeros(6, 6, 5, 5)
    with pytest.raises(CheckpointError, match="of another shape"):
        checkpoints.load("wav2lip_audio", state)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_there_is_one_row_per_frame_for_any_sound(seconds, rate):
    waveform = voice(seconds, rate, channels=2)
    timeline = Timeline.for_sound(waveform.shape[1], rate, 30)
    before = waveform.clone()
    stream = small().encode(waveform, rate, timeline).streams["wav2lip"]
    assert stream.shape == (timeline.num_frames, 48)
    assert (stream >= 0).all()
    assert torch.equal(waveform, before)


def test_batches_join_without_a_seam_and_report_their_progress(monkeypatch):
    waveform = voice(4)
    timeline = Timeline.for_sound(4 * RATE, RATE, 25)
    whole = small().encode(waveform, RATE, timeline).streams["wav2lip"]
    monkeypatch.setattr(wav2lip, "BATCH", 33)
    seen = []
    pieces = small().encode(waveform, RATE, timeline, lambda *step: seen.append(step))
    assert torch.allclose(pieces.streams["wav2lip"], whole, atol=1e-6)
    assert seen == [(33, 100), (66, 100), (99, 100), (100, 100)]


def test_an_interrupt_passes_through():
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small().encode(voice(1), RATE, Timeline.for_sound(RATE, RATE, 25), stop)


@pytest.mark.parametrize(
    "waveform", [torch.zeros(100), torch.zeros(1, 0), torch.full((1, 900), float("nan"))]
)
def test_unusable_sounds_are_refused(waveform):
    with pytest.raises(PayloadError, match="sound"):
        small().encode(waveform, RATE, Timeline.for_sound(RATE, RATE, 25))
