"""The log-mel spectrum: where frames lie, that pieces join, and that gain does not matter."""

import torch
from soliloquy.models.speech import mel


def test_a_click_is_loudest_in_the_frame_centred_on_it():
    sound = torch.zeros(16000)
    sound[37 * mel.HOP] = 1.0
    assert int(mel.log_mel(sound).mean(-1).argmax()) == 37


def test_a_tone_is_loudest_in_the_bin_around_its_frequency():
    filters = mel.mel_filters()
    for hertz in (200.0, 1000.0, 4000.0):
        sound = (2 * torch.pi * hertz * torch.arange(16000) / 16000).sin()
        loudest = int(mel.log_mel(sound)[50].argmax())
        nearest = int(filters[round(hertz / 16000 * mel.WINDOW)].argmax())
        assert abs(loudest - nearest) <= 1


def test_pieces_join_without_a_seam():
    sound = torch.randn(50001, generator=torch.Generator().manual_seed(0)) * 0.1
    whole = mel.log_mel(sound)
    assert len(whole) == mel.frame_count(len(sound))
    torch.testing.assert_close(torch.cat(list(mel.stream(sound, piece=71))), whole)


def test_frames_beyond_the_ends_of_the_sound_are_silent():
    sound = torch.ones(3200)
    around = mel.log_mel(sound, first=-10, count=40)
    assert around.shape == (40, mel.BINS)
    silence = torch.tensor(mel.FLOOR).log()
    assert torch.allclose(around[:5], silence.expand(5, mel.BINS))
    assert torch.allclose(around[-5:], silence.expand(5, mel.BINS))


def test_gain_does_not_change_what_the_network_sees():
    generator = torch.Generator().manual_seed(1)
    sound = torch.randn(32000, generator=generator) * torch.linspace(0.02, 0.5, 32000)

    def seen(gain: float) -> torch.Tensor:
        spectrum = mel.log_mel(sound * gain)
        return mel.normalise(spectrum, mel.average(iter([spectrum])))

    torch.testing.assert_close(seen(0.1), seen(1.0), atol=0.02, rtol=0)


def test_silence_is_not_amplified_into_a_voice():
    spectrum = mel.log_mel(torch.zeros(16000))
    seen = mel.normalise(spectrum, mel.average(iter([spectrum])))
    assert float(seen.max()) < -1.0


def test_pauses_hardly_count_in_the_average():
    sound = torch.randn(16000, generator=torch.Generator().manual_seed(2)) * 0.2
    voice, padded = mel.log_mel(sound), mel.log_mel(torch.cat([torch.zeros(64000), sound]))
    difference = mel.average(iter([voice])) - mel.average(iter([padded]))
    assert float(difference.abs().max()) < 0.2
