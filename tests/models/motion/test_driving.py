"""A motion from the front takes the head of a driving video, landmark by landmark as published."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.motion import driving as driving_video
from soliloquy.models.motion.alignment import align, five_points
from soliloquy.models.motion.atom_motion import AToMMotion
from soliloquy.models.motion.driving import DrivingVideo, find_driving_face, follow, follow_aligned
from soliloquy.models.motion.face_model import ANGLES, TRANSLATION, load_reconstruction
from soliloquy.models.motion.posed import posed_landmarks
from soliloquy.models.payloads import Motion, PayloadError, Timeline
from soliloquy.models.portrait.face import Face
from soliloquy.models.portrait.geometry import head_pose
from soliloquy.models.portrait.landmarks import NoFaceError

from ..render.drawn_face import drawn_face
from .atom_weights import small
from .face_model_files import write_model, write_network
from .test_atom_motion import voice

POSES = [(0.0, 0.0, 0.0), (4.0, 12.0, -3.0), (-3.0, -9.0, 6.0)]


def video(poses=POSES, width=256, **options):
    faces = [drawn_face(width=width, rotation=pose, **options) for pose in poses]
    return DrivingVideo(
        frames=torch.stack([face.image for face in faces]),
        landmarks=torch.stack([face.landmarks for face in faces]),
    )


def frontal_motion(frames=3, seed=0):
    random = torch.Generator().manual_seed(seed)
    return Motion(
        space="landmarks68",
        values=0.03 * torch.randn(frames, 68, 3, generator=random),
        rotation=torch.full((frames, 3), 9.0),  # of gestures: the video knows better
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, 25),
    )


@pytest.fixture
def reconstruction(tmp_path):
    write_model(tmp_path)
    write_network(tmp_path)
    return load_reconstruction(tmp_path)


def test_a_face_at_rest_lies_on_that_of_each_frame():
    driving, portrait = video(), drawn_face()
    rest = replace(frontal_motion(), values=torch.zeros(3, 68, 3))
    found = posed_landmarks(follow(rest, portrait, driving), portrait)
    assert (found - driving.landmarks)[..., :2].norm(dim=-1).max() < 1.5  # pixels of 256
    assert torch.allclose(head_pose(found), torch.tensor(POSES), atol=0.5)


def test_size_and_place_are_those_of_the_frames():
    driving, portrait = video([POSES[1]], interocular=90.0), drawn_face()
    driving = replace(driving, landmarks=driving.landmarks + torch.tensor([13.0, -7.0, 0.0]))
    rest = replace(frontal_motion(1), values=torch.zeros(1, 68, 3))
    led = follow(rest, portrait, driving)
    assert float(led.scale[0]) == pytest.approx(90 / 72, rel=0.02)
    found = posed_landmarks(led, portrait)
    assert (found - driving.landmarks)[..., :2].norm(dim=-1).max() < 2


def test_what_the_lips_say_stays():
    driving, portrait, motion = video(), drawn_face(), frontal_motion()
    assert torch.equal(follow(motion, portrait, driving).values, motion.values)


@pytest.mark.parametrize("rounded", [True, False])
def test_with_the_face_model_landmarks_are_where_the_published_alignment_has_them(
    reconstruction, rounded
):
    driving, portrait = video(), drawn_face()
    frontal = 0.2 * torch.randn(3, 68, 3, generator=torch.Generator().manual_seed(1))
    led = follow_aligned(
        frontal_motion(),
        portrait,
        driving,
        frontal=frontal,
        reconstruction=reconstruction,
        rounded=rounded,
    )
    seen = torch.stack(
        [
            reconstruction.coefficients(*pair)
            for pair in zip(driving.frames, driving.landmarks, strict=True)
        ]
    )
    flat = driving.landmarks[..., :2]
    wanted = align(frontal, seen[:, ANGLES], seen[:, TRANSLATION], flat, rounded=rounded)
    assert torch.allclose(posed_landmarks(led, portrait)[..., :2], wanted.float(), atol=2e-3)


@pytest.mark.parametrize("mode", ["default", "reference"])
def test_the_published_network_speaks_in_the_frames_of_a_video(reconstruction, mode):
    """From the sound to landmarks in the frames: what MToV draws."""
    poses = [(0.0, float(i % 7), 0.0) for i in range(6)]
    driving, portrait = video(poses), drawn_face()
    model = AToMMotion(network=small(), mode=mode, reconstruction=reconstruction, driving=driving)
    motion = model.sample(voice(0.24), portrait, steps=2)
    found = posed_landmarks(motion, portrait)[..., :2]
    wanted = driving.landmarks[..., :2]
    assert found.shape == (6, 68, 2)
    assert torch.isfinite(found).all()
    five = [five_points(points).mean(1) for points in (found, wanted)]
    assert torch.allclose(*five, atol=0.01)


def test_without_the_face_model_the_head_turns_as_that_of_the_video():
    driving, portrait = video([(0.0, float(i), 0.0) for i in range(6)]), drawn_face()
    model = AToMMotion(network=small(), driving=driving)
    motion = model.sample(voice(0.24), portrait, steps=2)
    assert torch.allclose(motion.rotation[:, 1], torch.arange(6.0), atol=0.5)


def test_a_video_that_does_not_fit_is_refused_before_anything_is_sampled():
    model, short = AToMMotion(network=small(), driving=video()), video(width=128)
    with pytest.raises(PayloadError, match="no portrait"):
        model.sample(voice(0.24))
    with pytest.raises(PayloadError, match="3 frames of 256×320; at least 6 of 256×320"):
        model.sample(voice(0.24), drawn_face())
    with pytest.raises(PayloadError, match="of 128×320; at least 3 of 256×320"):
        follow(frontal_motion(), drawn_face(), short)


def test_a_face_is_followed_and_lies_between_its_neighbours_where_it_is_not_seen(monkeypatch):
    near, far = (Face(landmarks=drawn_face(interocular=size).landmarks) for size in (60.0, 40.0))
    shifted = Face(landmarks=near.landmarks + torch.tensor([8.0, 0.0, 0.0]))
    frames = torch.zeros(3, 320, 256, 3, dtype=torch.uint8)
    seen, told = [[far, near], [], [shifted, far]], []

    def find(image, picture, number):
        if not seen[number]:
            raise NoFaceError("none")
        return seen[number]

    monkeypatch.setattr(driving_video, "find_faces", find)
    found = find_driving_face(
        frames, lambda number: {"number": number}, lambda *counts: told.append(counts)
    )
    assert torch.allclose(found.landmarks[1], near.landmarks + torch.tensor([4.0, 0.0, 0.0]))
    assert found.num_missing == 1
    assert told[-1] == (3, 3)


def test_a_video_without_a_face_is_refused(monkeypatch):
    def find(*given, **options):
        raise NoFaceError("none")

    monkeypatch.setattr(driving_video, "find_faces", find)
    with pytest.raises(PayloadError, match="any of the 2 frames"):
        find_driving_face(torch.zeros(2, 64, 64, 3, dtype=torch.uint8), lambda number: {})
