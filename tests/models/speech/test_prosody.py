import pytest
import torch
from soliloquy.models.payloads import Timeline
from soliloquy.models.speech.prosody import prosody_streams


def voice(seconds, f0, rate=16000):
    """A buzz with eight harmonics, `[1, S]`."""
    time = torch.arange(int(seconds * rate)) / rate
    return 0.1 * sum(torch.sin(2 * torch.pi * f0 * k * time) / k for k in range(1, 9))[None]


def streams(sound, rate=16000, fps=25):
    return prosody_streams(sound, rate, Timeline.for_sound(sound.shape[1], rate, fps))


@pytest.mark.parametrize("f0", [80, 130, 220, 390])
@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_pitch_of_a_buzz_is_found_at_any_sample_rate(f0, rate):
    found = streams(voice(1, f0, rate), rate)["f0"][3:-3]
    torch.testing.assert_close(found, torch.full_like(found, f0), rtol=0.01, atol=0)


def test_noise_and_silence_have_no_pitch():
    noise = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    assert (streams(noise)["f0"] == 0).float().mean() > 0.9
    quiet = streams(torch.zeros(1, 16000))
    assert quiet["f0"].abs().max() == 0
    assert quiet["energy"].abs().max() == 0


def test_energy_follows_loudness_and_not_gain():
    sound = torch.cat([voice(1, 120), torch.zeros(1, 16000), voice(1, 120) * 0.1], 1)
    energy = streams(sound)["energy"][:, 0]
    loud, silent, soft = energy[5:20].mean(), energy[30:45].mean(), energy[55:70].mean()
    assert loud > soft + 0.2
    assert soft > silent + 0.1
    assert silent == 0
    torch.testing.assert_close(streams(sound * 0.02)["energy"][:, 0], energy, atol=0.01, rtol=0)


def test_pauses_are_silent_in_a_noisy_room_too():
    sound = torch.cat([voice(2, 120), torch.zeros(1, 16000), voice(2, 120)], 1)
    noise = torch.randn(sound.shape, generator=torch.Generator().manual_seed(0))
    energy = streams(sound + 0.012 * noise)["energy"][:, 0]  # about 17 decibels below
    assert energy[55:70].mean() < 0.1
    assert energy[5:45].mean() > 0.7


def test_channels_are_averaged():
    stereo = torch.cat([voice(1, 150), voice(1, 150)])
    torch.testing.assert_close(streams(stereo)["f0"], streams(voice(1, 150))["f0"])


def test_chunks_do_not_show():
    late = torch.cat([torch.zeros(1, 16000 * 29), voice(2, 150), torch.zeros(1, 16000)], 1)
    early = late[:, 16000 * 20 :]
    for name, atol in (("energy", 1e-3), ("f0", 1.0)):
        torch.testing.assert_close(
            streams(late)[name][20 * 25 :], streams(early)[name], atol=atol, rtol=0
        )


@pytest.mark.parametrize("samples", [1, 7, 800, 16000 * 31 + 1])
@pytest.mark.parametrize("fps", ["1", "23.976", "120"])
def test_every_length_gives_one_row_per_frame(samples, fps):
    sound = 0.1 * torch.ones(1, samples)
    timeline = Timeline.for_sound(samples, 16000, fps)
    for stream in prosody_streams(sound, 16000, timeline).values():
        assert stream.shape == (timeline.num_frames, 1)
        assert torch.isfinite(stream).all()
