"""MediaPipe on real portraits: found where they are, and nothing where there is nobody."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait import mediapipe_detector
from soliloquy.models.portrait.crop import prepare_portrait, read_image
from soliloquy.models.portrait.landmarks import NoFaceError

from ...helpers import shared

needs_mediapipe = pytest.mark.skipif(
    not find_spec("mediapipe"), reason="mediapipe is not installed"
)
TASK = "models/face_landmarker.task"


def portrait(name):
    image = read_image(shared(f"data/portraits/{name}"))
    return prepare_portrait(image, face_landmarker=shared(TASK))


@needs_mediapipe
@pytest.mark.parametrize(
    ("name", "box", "faces"),
    [
        ("art_small_225.png", (67, 67, 158, 171), 1),
        ("bw_photo_375x500.jpg", (125, 107, 256, 266), 1),
        ("cartoon_852.jpg", (206, 243, 645, 731), 1),
        ("painting_full_720x1280.jpg", (268, 222, 474, 457), 1),
        ("tilted_print_708x648.jpg", (277, 257, 424, 411), 1),
        ("nine_faces.jpg", None, 9),
    ],
)
def test_faces_of_photos_paintings_and_cartoons_are_found(name, box, faces):
    found = portrait(name)
    assert found.num_faces == faces
    assert found.dense is not None
    if box:
        size = box[2] - box[0]
        assert np.abs(np.array(found.box) - box).max() < 0.08 * size


@needs_mediapipe
def test_the_face_in_three_quarter_view_looks_to_the_left_of_the_picture():
    _, yaw, roll = portrait("painting_three_quarter_1092x1280.jpg").rotation
    assert 25 < yaw < 45
    assert 5 < roll < 16


@needs_mediapipe
@pytest.mark.parametrize("name", ["dog_512.jpg", "no_face.jpg"])
def test_dogs_and_lawns_have_no_face(name, monkeypatch):
    from soliloquy.models.portrait import face_alignment_detector

    monkeypatch.setattr(face_alignment_detector, "missing_files", lambda: ["a.pth"])
    with pytest.raises(NoFaceError, match="No face found in image 1 of 1"):
        portrait(name)


@needs_mediapipe
def test_a_picture_on_its_side_is_turned():
    image = read_image(shared("data/portraits/photo_outdoor_512.jpg"))
    upright = prepare_portrait(image, face_landmarker=shared(TASK))
    turned = prepare_portrait(torch.rot90(image), face_landmarker=shared(TASK))
    wanted = torch.stack([upright.landmarks[:, 1], 511 - upright.landmarks[:, 0]], -1)
    assert (turned.landmarks[:, :2] - wanted).abs().max() < 0.05 * upright.interocular
    assert turned.rotation[2] == pytest.approx(upright.rotation[2] - 90, abs=3)


@needs_mediapipe
def test_a_file_that_is_no_face_landmarker_is_refused(tmp_path):
    image = torch.zeros(64, 64, 3, dtype=torch.uint8)
    with pytest.raises(PayloadError, match="does not exist"):
        mediapipe_detector.detect(image, tmp_path / "absent.task")
    (tmp_path / "junk.task").write_bytes(b"junk")
    with pytest.raises(PayloadError, match="not a face landmarker"):
        mediapipe_detector.detect(image, tmp_path / "junk.task")


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    task = tmp_path / "face_landmarker.task"
    task.write_bytes(b"a file that is there")
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)
    with pytest.raises(PayloadError, match=r'pip install "soliloquy\[mediapipe\]"'):
        mediapipe_detector.detect(torch.zeros(64, 64, 3, dtype=torch.uint8), task)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_points_of_a_turned_picture_go_back_to_where_they_were(quarters):
    picture = np.zeros((5, 8))
    picture[1, 6] = 1
    y, x = np.argwhere(np.rot90(picture, quarters))[0]
    back = mediapipe_detector._turn_back(np.array([[x, y, 3.0]]), quarters, picture.shape)
    assert back.tolist() == [[6, 1, 3]]


@pytest.mark.parametrize(("length", "side"), [(100, 50), (101, 34), (40, 50), (1000, 111)])
def test_tiles_overlap_and_reach_both_ends(length, side):
    starts = mediapipe_detector._starts(length, side)
    assert starts[0] == 0
    assert starts[-1] == max(0, length - side)
    assert all(0 < step <= side / 2 for step in np.diff(starts))
