import pytest
import torch
from soliloquy.models.motion.posed import posed_landmarks
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.scene import LOWER_FACE, PoseFrames, Scene, inside_outline

from .moving import PORTRAIT, speaking


@pytest.fixture(scope="module")
def motion():
    return speaking()


@pytest.fixture(scope="module")
def scene(motion):
    return Scene.of(PORTRAIT, motion, 64)


def test_landmarks_lie_in_the_networks_square(scene, motion):
    shown = posed_landmarks(motion, PORTRAIT)[..., :2]
    assert torch.allclose(scene.landmarks, (shown.double() + 0.5) / 4 - 0.5, atol=1e-4)


def test_a_crop_of_another_scale_holds_the_same_face(motion):
    tight = Scene.of(PORTRAIT, motion, 64, crop_scale=1.2)
    extent = tight.landmarks[0].amax(0) - tight.landmarks[0].amin(0)
    assert 40 < extent.max() < 64
    assert tight.portrait.crop_size == 64


def test_pose_frames_turn_and_blink_but_do_not_speak(motion):
    pose = PoseFrames(PORTRAIT, motion)
    frames = torch.tensor([3, 9, 12])  # eyes open, mouth open in between
    pictures = pose(frames)
    assert (pictures[0] != pictures[2]).any()
    still = PoseFrames(PORTRAIT, speaking(turn=0.0))(torch.tensor([9]))[0]
    assert torch.equal(still, PORTRAIT.image)


def test_frames_that_were_made_are_kept_until_time_has_passed_them(motion, monkeypatch):
    pose, made = PoseFrames(PORTRAIT, motion), []
    monkeypatch.setattr(pose, "_picture", lambda i: made.append(i) or PORTRAIT.image)
    pose(torch.arange(4))
    pose(torch.arange(2, 6))
    assert made == [0, 1, 2, 3, 4, 5]
    pose(torch.arange(2))
    assert made[6:] == [0, 1]


def test_the_lower_half_is_hidden_and_the_upper_one_is_not(scene):
    frames = torch.arange(2)
    squares = scene.squares(scene.pictures(frames))
    masked = scene.masked_video(squares, frames)
    row = int(scene.landmarks[0, 33, 1])
    assert masked.shape == (3, 2, 64, 64)
    assert (masked[:, 0, row:] == -1).all()
    assert torch.allclose(masked[:, 0, :row], 2 * squares[0, :, :row] - 1)


def test_the_drawn_landmarks_are_where_the_landmarks_are(scene):
    drawn = scene.landmark_video(torch.arange(3))
    assert drawn.shape == (3, 3, 64, 64)
    x, y = scene.landmarks[1, 30].round().long().tolist()
    assert drawn[0, 1, y, x] > 0
    assert drawn[:, :, :4].max() == -1


def test_the_reference_stands_still(scene):
    still = scene.reference_video(5)
    assert torch.equal(still[:, 0], still[:, 4])


def test_only_the_lower_face_is_taken_from_the_networks(scene):
    shown = scene.lower_face(torch.arange(2))
    centre = (4 * scene.landmarks[0, 48:68].mean(0)).round().long()
    assert shown[0, centre[1], centre[0]] > 0.9
    eyes = (4 * scene.landmarks[0, 36:48].mean(0)).round().long()
    assert shown[0, eyes[1], eyes[0]] == 0
    assert 0 < shown[0].mean() < 0.3


def test_pixels_inside_an_outline_are_found():
    square = torch.tensor([[[1.5, 1.5], [4.5, 1.5], [4.5, 3.5], [1.5, 3.5]]]).double()
    inside = inside_outline(square, 8)[0]
    assert inside.sum() == 6
    assert inside[2:4, 2:5].all()
    assert len(LOWER_FACE) == 18


def test_a_driving_video_takes_the_place_of_the_warp_renderer(motion):
    video = torch.randint(0, 255, (20, 160, 128, 3), dtype=torch.uint8)
    scene = Scene.of(PORTRAIT, motion, 64, frames=video)
    assert torch.equal(scene.pictures(torch.tensor([4, 19])), video[[4, 19]])
    for wrong in (video[:19], video[:, :80], video.float()):
        with pytest.raises(PayloadError, match="at least 20 pictures of 128×160"):
            Scene.of(PORTRAIT, motion, 64, frames=wrong)


def test_the_mouth_is_where_the_lips_are_parted(motion):
    close = Scene.of(PORTRAIT, motion, 64, crop_scale=0.8)
    shut, parted = close.mouth(torch.tensor([0, 9]))[0]
    across, down = close.landmarks[9, 60:68].mean(0).round().long().tolist()
    assert parted[down, across] > 0.9
    assert parted.sum() > 10 * shut.sum()
