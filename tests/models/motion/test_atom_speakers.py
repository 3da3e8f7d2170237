"""Both networks hear what they were trained on, whatever the frame rate, and refuse the rest."""

import pytest
import torch
from soliloquy.models.motion.atom import guided
from soliloquy.models.motion.atom_small import AToMSmall, AToMSmallConfig
from soliloquy.models.motion.atom_speakers import PublishedSpeaker, SmallSpeaker
from soliloquy.models.payloads import PayloadError, Speech, Timeline

from .atom_weights import small

CPU = torch.device("cpu")


def speech(name, channels, frames=12, fps=25):
    timeline = Timeline.for_frames(frames, fps)
    stream = torch.randn(frames, channels, generator=torch.Generator().manual_seed(0))
    return Speech(streams={name: stream}, timeline=timeline)


def published():
    return PublishedSpeaker(small(), CPU, None)


def ours():
    torch.manual_seed(0)
    return SmallSpeaker(AToMSmall(AToMSmallConfig(width=16, depth=1)).requires_grad_(False), CPU)


def test_at_25_fps_the_published_network_hears_the_features_as_they_are():
    said = speech("hubert", 2048)
    heard = published().hear(said, 12)
    assert torch.equal(heard.reshape(24, 1024), said.streams["hubert"].reshape(24, 1024))


@pytest.mark.parametrize("fps", [12, 24, 60])
def test_at_other_rates_it_hears_the_same_moments(fps):
    frames, rate = 2 * fps, 2 * fps
    ramp = ((torch.arange(2 * frames) + 0.5) / rate)[:, None].expand(-1, 1024).reshape(frames, 2048)
    said = Speech(streams={"hubert": ramp}, timeline=Timeline.for_frames(frames, fps))
    heard = published().hear(said, 50).reshape(100, 1024)[:, 0]
    wanted = (torch.arange(100) + 0.5) / 50
    assert torch.allclose(heard[4:-4], wanted[4:-4], atol=1e-4)


def test_a_window_is_what_the_network_says_with_guidance():
    speaker = published()
    heard = speaker.hear(speech("hubert", 2048), 12)
    first, noisy = torch.randn(204) * 0.5, torch.randn(12, 204)
    clean = speaker.denoiser(first, heard, [999, 499], 2.0)(noisy, 499)
    arguments = first[None, None], heard.reshape(1, 24, 1024), torch.tensor([499])
    whole = small().guided_forward(noisy[None], *arguments, 2.0)[0]
    assert torch.allclose(clean, whole, atol=1e-4)
    alone = speaker.denoiser(first, heard, [499], 1.0)(noisy, 499)
    assert torch.allclose(alone, small()(noisy[None], *arguments)[0], atol=1e-4)


def test_our_network_is_guided_away_from_knowing_nothing():
    speaker = ours()
    heard = speaker.hear(speech("expression", 64), 12)
    first, noisy = torch.randn(204) * 0.1, torch.randn(12, 204)
    by_guidance = [speaker.denoiser(first, heard, [300], g)(noisy, 300) for g in (1.0, 3.0)]
    nothing = speaker.network(
        noisy[None], first[None], heard[None], torch.tensor([300]), torch.tensor([False])
    )
    wanted = guided(torch.cat([by_guidance[0][None], nothing]), 3.0)[0]
    assert torch.allclose(by_guidance[1], wanted, atol=1e-5)


@pytest.mark.parametrize("speaker", [published, ours])
def test_landmarks_come_back_from_samples(speaker):
    landmarks, first = torch.randn(9, 204), torch.randn(204)
    sample = speaker().to_sample(landmarks, first)
    assert torch.allclose(speaker().from_sample(sample, first), landmarks, atol=1e-5)


def test_another_encoders_stream_is_refused():
    with pytest.raises(PayloadError, match="1024 channels; MoDiTalker needs 2048"):
        published().hear(speech("hubert", 1024), 12)
    with pytest.raises(PayloadError, match="needs the speech stream 'hubert'"):
        published().hear(speech("expression", 64), 12)
    with pytest.raises(PayloadError, match="speech encoder 'starter'"):
        ours().hear(speech("expression", 128), 12)
