import numpy as np
import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.tracking import above_rest, fill_gaps, head_motion, track
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.geometry import euler_to_matrix, matrix_to_euler
from soliloquy.models.portrait.mapping import mean_face, mean_landmarks

from ...helpers import shared

CLIPS = ("talk_a", "talk_b", "talk_c", "talk_d")


def seen(points, **weights):
    return {
        "landmarks_xy": points[:, :2].numpy(),
        "landmarks_3d": points.numpy(),
        "blendshapes": weights or {"jawOpen": 0.0},
    }


def face_landmarks(frames):
    return {"frames": frames, "image_size": (400, 400), "connection_sets": {}}


def face_at(x, y, size=60.0):
    return mean_face() * size + torch.tensor([x, y, 0.0])


def test_gaps_lie_between_their_neighbours_and_ends_are_held():
    found = torch.tensor([False, True, False, False, True, False])
    curve = fill_gaps(torch.tensor([[0.0], [3.0]]), found)
    assert curve[:, 0].tolist() == [0.0, 0.0, 1.0, 2.0, 3.0, 3.0]


def test_a_single_face_is_held_throughout():
    found = torch.tensor([False, False, True, False])
    assert fill_gaps(torch.tensor([0.5]), found).tolist() == [0.5] * 4


def test_a_head_that_turns_about_its_neck_does_not_shift():
    neck = torch.tensor([0.0, float(mean_landmarks()[8, 1]) + 0.25, 0.75])
    angles = torch.tensor([[5.0, 3.0, -2.0], [-10.0, 20.0, 8.0], [0.0, 0.0, 0.0]])
    turned = (mean_landmarks() - neck) @ euler_to_matrix(angles).mT + neck
    rotation, translation, scale = head_motion(turned * 80 + 200, relative=False)
    assert torch.allclose(rotation, angles, atol=1e-3)
    assert translation.abs().max() < 1e-4
    assert torch.allclose(scale, torch.ones(3), atol=1e-4)
    relative, *_ = head_motion(turned * 80 + 200)
    assert relative[0].abs().max() < 1e-3


def test_shift_and_size_are_in_the_units_of_payloads():
    frames = [[seen(face_at(100, 100))], [seen(face_at(130, 85, 66.0))]]
    motion = track(face_landmarks(frames), 25)
    assert motion.scale.tolist() == pytest.approx([1.0, 1.1], abs=1e-4)
    assert float(motion.translation[1, 0]) == pytest.approx(0.5, abs=0.01)  # 30 of 60 pixels
    still = track(face_landmarks(frames), 25, position=False)
    assert still.scale.tolist() == [1, 1]
    assert not still.translation.any()


def test_a_face_is_followed_when_another_becomes_larger():
    def left(frame):
        return seen(face_at(90 + frame, 100, 60.0), jawOpen=0.1 * frame)

    def right(frame):
        return seen(face_at(300, 100, 50.0 + 10 * frame), jawOpen=1.0)

    frames = [[right(0), left(0)], [right(1), left(1)], [], [right(3), left(3)]]
    motion = track(face_landmarks(frames), 25, from_rest=False)
    assert motion.values[:, INDEX["jawOpen"]].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    other = track(face_landmarks(frames), 25, face_index=1, from_rest=False)
    assert other.values[:, INDEX["jawOpen"]].tolist() == [1.0] * 4


def test_what_a_face_always_shows_is_rest():
    weights = torch.zeros(100, 52)
    weights[:, INDEX["browDownLeft"]] = 0.4
    weights[50:60, INDEX["browDownLeft"]] = 1.0
    weights[10, INDEX["eyeBlinkLeft"]] = 0.9
    counted = above_rest(weights)
    assert counted[0].max() == 0
    assert counted[55, INDEX["browDownLeft"]] == 1
    assert counted[10, INDEX["eyeBlinkLeft"]] == pytest.approx(0.9)


def test_videos_without_a_face_or_without_weights_are_refused():
    with pytest.raises(PayloadError, match="in any of the 3 frames"):
        track(face_landmarks([[], [], []]), 25)
    with pytest.raises(PayloadError, match="in any of the 0 frames"):
        track(face_landmarks([]), 25)
    bare = {**seen(face_at(100, 100)), "blendshapes": None}
    with pytest.raises(PayloadError, match="no blendshapes"):
        track(face_landmarks([[bare]]), 25)


@pytest.mark.parametrize("clip", CLIPS)
def test_real_heads_turn_as_the_detectors_own_geometry_says(clip):
    data = np.load(shared(f"data/clips/{clip}.npz"))
    names = [str(name) for name in data["blendshape_names"]]
    frames = [
        [
            {
                "landmarks_xy": points[:, :2],
                "landmarks_3d": points,
                "blendshapes": dict(zip(names, map(float, weights), strict=True)),
            }
        ]
        for points, weights in zip(
            data["landmarks478"].astype("float32"), data["blendshapes"], strict=True
        )
    ]
    width, height = map(int, data["size"])
    value = {"frames": frames, "image_size": (height, width), "connection_sets": {}}
    motion = track(value, float(data["fps"]))
    camera = torch.from_numpy(data["transform"][:, :3, :3])
    axes = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # its y is up, its z towards the viewer
    turned = axes @ (camera / torch.linalg.det(camera)[:, None, None] ** (1 / 3)) @ axes
    expected = matrix_to_euler(turned @ turned[:1].mT)
    assert (motion.rotation - expected).abs().mean() < 1.5  # degrees
    jaw = motion.values[:, INDEX["jawOpen"]].numpy()
    assert np.corrcoef(jaw, data["lip_aperture"])[0, 1] > 0.7
