"""Clips hold what the warp renderer draws, with the landmarks that moved it."""

import random

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import Motion, PayloadError, Timeline
from soliloquy.training import identity_diffusion_data as data
from soliloquy.training.phones import Segment
from soliloquy.training.synthesis import SAMPLE_RATE, Utterance

from ..models.render.drawn_face import drawn_face


def utterance(seconds=1.0):
    sound = np.random.default_rng(0).normal(0, 3000, int(seconds * SAMPLE_RATE)).astype(np.int16)
    return Utterance(sound=sound, segments=[Segment("a", 0.0, seconds)], voice="none", text="a")


def motion(frames=20):
    return Motion(
        space="arkit52",
        values=torch.full((frames, 52), 0.2),
        rotation=torch.arange(frames)[:, None].expand(-1, 3).float(),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )


def draw(count):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "FRAMES", 3)
        return data.draw_clips({"drawn": drawn_face(200, 180)}, [utterance()], count, seed=1)


@pytest.fixture(scope="module")
def clips():
    return draw(2)


def test_a_clip_has_pictures_and_landmarks_of_every_frame(clips):
    assert len(clips) == 2
    assert clips.frames.shape == (2, 3, 3, data.SIZE, data.SIZE)
    assert clips.points.shape == (2, 3, 68, 2)
    assert (clips.kernel >= 23).all()
    difference = (clips.frames.float() - clips.identity[:, None].float()).abs()
    assert difference.amax() > 10
    inside = (clips.rest > 0) & (clips.rest < data.SIZE)
    assert inside.float().mean() > 0.9  # a chin may lie below the tightest squares


def test_the_same_seed_draws_the_same_clips(clips):
    assert torch.equal(draw(1).frames, clips.frames[:1])


def test_clips_survive_a_file(clips, tmp_path):
    clips.save(tmp_path / "clips.safetensors")
    read = data.Clips.load(tmp_path / "clips.safetensors")
    assert read.names == clips.names
    assert torch.equal(read.frames, clips.frames)
    assert read.frames.dtype == torch.uint8


def test_pieces_are_consecutive_and_short_motions_hold_their_end():
    part = data.piece(motion(20), 8, random.Random(3))
    assert torch.equal(part.rotation[:, 0].diff(), torch.ones(7))
    held = data.piece(motion(3), 8, random.Random(3))
    assert held.rotation[:, 0].tolist() == [0, 1, 2, 2, 2, 2, 2, 2]


def test_emotions_show():
    happy = data.livened(motion(), 4, random.Random(0)).values
    neutral = data.livened(motion(), 7, random.Random(0)).values
    smile = INDEX["mouthSmileLeft"]
    assert (happy[:, smile] > neutral[:, smile] + 0.2).all()
    assert torch.equal(happy[:, INDEX["jawOpen"]], neutral[:, INDEX["jawOpen"]])


def test_held_out_faces_must_be_there(tmp_path):
    pytest.importorskip("skimage")
    with pytest.raises(PayloadError, match="0 held out"):
        data.prepare(tmp_path, tmp_path, ("nobody",), (1, 1), None)
