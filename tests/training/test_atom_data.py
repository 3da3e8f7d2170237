"""Made-up faces differ as faces do, and windows show what is heard."""

import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.rig import load_rig
from soliloquy.training.atom_data import Speakers, draw_batch, random_face, read_speakers


def speakers(sessions=3, frames=80):
    weights = torch.zeros(sessions, 2, frames, 52)
    opening = torch.linspace(0, 1, frames)
    weights[..., INDEX["jawOpen"]] = opening
    speech = opening[:, None].expand(sessions, frames, 64)
    return Speakers(speech=speech.half(), weights=weights.half())


def test_faces_keep_their_eye_corners_and_differ_elsewhere():
    faces = torch.stack([random_face(np.random.default_rng(i)) for i in range(40)])
    mean = load_rig().mean_face
    assert torch.allclose(faces[:, [36, 45]], mean[[36, 45]].expand(40, 2, 3), atol=1e-6)
    assert float((faces.mean(0) - mean).abs().max()) < 0.05
    assert float(faces[:, 54, 0].std()) > 0.01
    assert float((faces[:, 66, 1] - faces[:, 62, 1]).min()) > -0.05


def test_speech_and_landmarks_are_of_the_same_moments():
    batch = draw_batch(speakers(), 6, 30, np.random.default_rng(0), dropped=0.0)
    gap = batch.landmarks[..., 3 * 66 + 1] - batch.landmarks[..., 3 * 62 + 1]
    for heard, seen in zip(batch.speech[..., 0], gap, strict=True):
        assert torch.corrcoef(torch.stack([heard, seen]))[0, 1] > 0.9
    assert bool(batch.kept.all())


def test_a_batch_follows_from_its_number():
    one, two = (draw_batch(speakers(), 4, 30, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one.landmarks, two.landmarks)
    assert torch.equal(one.first, two.first)


def test_sessions_that_are_not_there_are_missed(tmp_path):
    with pytest.raises(FileNotFoundError, match="ksdiff_data"):
        read_speakers(tmp_path)
