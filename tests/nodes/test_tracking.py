import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.portrait.mapping import mean_face

from .loaded import host_double, tracking


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


def face_landmarks(frames=10, empty=()):
    """What the host's detector gives for a face that opens its mouth."""
    points = mean_face() * 60 + torch.tensor([100.0, 90.0, 0.0])
    found = []
    for frame in range(frames):
        face = {"landmarks_xy": points[:, :2].numpy(), "landmarks_3d": points.numpy()}
        found.append([] if frame in empty else [face | {"blendshapes": {"jawOpen": frame / 10}}])
    return {"frames": found, "image_size": (200, 200), "connection_sets": {}}


def motion(audio=None, empty=(), fps=25.0):
    switches = {"relative": True, "position": True, "from_rest": False, "face_index": 0}
    return tracking.MotionFromVideo.execute(face_landmarks(empty=empty), fps, audio, **switches)


def test_a_video_becomes_a_motion_of_its_length():
    made = motion(fps=30.0).result[0]
    assert made.timeline.num_frames == 10
    assert made.timeline.fps == 30
    assert made.values[5, INDEX["jawOpen"]] == pytest.approx(0.5)


def test_frames_without_a_face_are_said(state):
    output = motion(empty=(3, 4))
    assert "2 of 10 frames show no face" in output.ui.value
    assert state.said == [output.ui.value]
    assert output.result[0].timeline.num_frames == 10


def test_a_sound_gives_the_motion_its_length():
    made = motion({"waveform": torch.zeros(1, 1, 16000), "sample_rate": 16000}).result[0]
    assert made.timeline.num_frames == 25
    assert made.values[-1, INDEX["jawOpen"]] == pytest.approx(0.9)
    assert "the last frame is held" in made.notes[-1]
