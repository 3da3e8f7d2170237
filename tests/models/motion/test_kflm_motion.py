"""The published generator moves a portrait, second by second or joined."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.kflm_motion import KFLMMotion, in_plane, joined
from soliloquy.models.motion.posed import posed_landmarks
from soliloquy.models.payloads import PayloadError, Speech, Timeline
from soliloquy.models.speech.packed import pack

from ..render.drawn_face import drawn_face
from .plain_kflm import PlainKFLM, published


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return checkpoints.load("atl_diff/kflm", published(PlainKFLM(audio=12)))


def speech(seconds=2.4, fps=30):
    timeline = Timeline.for_sound(round(16000 * seconds), 16000, fps)
    features = torch.randn(150, 12, generator=torch.Generator().manual_seed(0))
    return Speech(streams={"wav2vec2_seconds": pack(features, 50, timeline)}, timeline=timeline)


def expected(network, portrait):
    """What the published program says, in source pixels, `[2, 30, 68, 2]`."""
    features = torch.randn(150, 12, generator=torch.Generator().manual_seed(0))
    rest = (portrait.landmarks[:, :2].T / portrait.size[0])[None]
    seconds = [network(features[50 * i : 50 * i + 49][None], rest) for i in (0, 1)]
    return torch.cat(seconds).mT * portrait.size[0]


@pytest.mark.parametrize("rotation", [(0.0, 0.0, 0.0), (4.0, 25.0, -6.0)])
def test_the_reference_mode_puts_landmarks_where_the_published_program_does(network, rotation):
    portrait = drawn_face(rotation=rotation)
    motion = KFLMMotion(network=network, mode="reference").sample(speech(), portrait)
    found = posed_landmarks(motion, portrait)[..., :2]
    wanted = expected(network, portrait).flatten(0, 1)
    assert torch.allclose(found[:60], wanted, atol=0.01)
    assert torch.allclose(found[60:], wanted[-1].expand(12, 68, 2), atol=0.01)  # held
    assert not motion.rotation.any()


def test_the_default_mode_gives_the_head_its_own_motion_and_leaves_the_picture_alone(network):
    portrait = drawn_face(rotation=(0.0, 10.0, 5.0))
    motion = KFLMMotion(network=network).sample(speech(), portrait)
    assert motion.rotation[:, 2].abs().max() > 0
    assert not motion.rotation[:, :2].any()
    found = posed_landmarks(motion, portrait)[:, :, :2]
    wanted = expected(network, portrait).flatten(0, 1)
    inner = slice(6, 24)  # away from the borders, which are joined
    assert torch.allclose(found[inner], wanted[inner], atol=1.0)


def test_turn_size_and_shift_of_a_face_are_found():
    points = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    angle = torch.tensor(0.3)
    sine, cosine = angle.sin(), angle.cos()
    turn = torch.stack([cosine, -sine, sine, cosine]).view(2, 2)
    goal = 1.2 * points @ turn.T + torch.tensor([3.0, -1.0])
    found = in_plane(points, goal[None])
    assert torch.allclose(found[0], angle, atol=1e-5)
    assert torch.allclose(found[1], torch.tensor(1.2), atol=1e-5)
    assert torch.allclose(found[2], torch.tensor([3.0, -1.0]), atol=1e-5)


def test_seconds_are_joined_without_a_jump():
    ramp = torch.linspace(0, 1, 30)[None, :, None, None].expand(3, 30, 2, 68)
    steps = joined(ramp).flatten(0, 1).diff(dim=0).abs()
    assert ramp.flatten(0, 1).diff(dim=0).abs().max() == 1
    assert steps.max() < 0.15
    assert torch.equal(joined(ramp)[:, 5:25], ramp[:, 5:25])


@pytest.mark.parametrize("fps", [24, 25, "29.97"])
def test_any_frame_rate_works(network, fps):
    motion = KFLMMotion(network=network).sample(speech(fps=fps), drawn_face())
    assert len(motion.values) == motion.timeline.num_frames


def test_progress_counts_seconds(network):
    told = []
    KFLMMotion(network=network).sample(speech(), drawn_face(), on_step=lambda *n: told.append(n))
    assert told == [(3, 3)]


def test_what_is_missing_or_impossible_is_said(network):
    model = KFLMMotion(network=network)
    with pytest.raises(PayloadError, match="needs a portrait"):
        model.sample(speech())
    with pytest.raises(PayloadError, match="modes default, reference, not 'fast'"):
        replace(model, mode="fast").sample(speech(), drawn_face())
    with pytest.raises(PayloadError, match=r"whole seconds; the sound has 0\.50"):
        replace(model, mode="reference").sample(speech(0.5), drawn_face())
    with pytest.raises(PayloadError, match="KFLM needs the speech stream 'wav2vec2_seconds'"):
        model.sample(Speech(streams={}, timeline=speech().timeline), drawn_face())
