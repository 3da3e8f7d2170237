"""Sources of landmarks are asked in order, and say clearly when there is none."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait import (
    face_alignment_detector,
    landmarks,
    mediapipe_detector,
)
from soliloquy.models.portrait.face import Face
from soliloquy.models.portrait.landmarks import NoFaceError, choose_face, find_faces
from soliloquy.models.portrait.mapping import mean_face, to_68

IMAGE = torch.zeros(519, 780, 3, dtype=torch.uint8)


def face(size=80.0, x=300.0):
    return Face.from_points(mean_face() * size + torch.tensor([x, 150.0, 0.0]))


@pytest.fixture
def detectors(monkeypatch):
    """Detectors that answer what the test puts in; None stands for absent weights."""
    answers = {"mediapipe": [], "face-alignment": None}

    def by_face_alignment(image, allow_download=False):
        return answers["face-alignment"]

    def missing():
        return ["a.pth"] if answers["face-alignment"] is None else []

    monkeypatch.setattr(mediapipe_detector, "detect", lambda image, task: answers["mediapipe"])
    monkeypatch.setattr(face_alignment_detector, "detect", by_face_alignment)
    monkeypatch.setattr(face_alignment_detector, "missing_files", missing)
    monkeypatch.setattr(face_alignment_detector, "where_files_belong", lambda: "a.pth into b")
    return answers


def test_given_landmarks_come_first(detectors):
    detectors["mediapipe"] = [face(40)]
    found = find_faces(
        IMAGE, landmarks={"landmarks478": face(90).dense.tolist()}, face_landmarker="x.task"
    )
    assert len(found) == 1
    torch.testing.assert_close(found[0].dense, face(90).dense)


def test_mediapipe_comes_before_face_alignment(detectors):
    detectors.update({"mediapipe": [face(40)], "face-alignment": [face(50)]})
    assert find_faces(IMAGE, face_landmarker="x.task")[0].area == pytest.approx(face(40).area)
    assert find_faces(IMAGE)[0].area == pytest.approx(face(50).area)


def test_face_alignment_is_asked_where_mediapipe_sees_nothing(detectors):
    detectors["face-alignment"] = [face(50)]
    assert len(find_faces(IMAGE, face_landmarker="x.task")) == 1


def test_faces_come_sorted_by_size(detectors):
    detectors["mediapipe"] = [face(30, 100), face(90, 300), face(50, 600)]
    areas = [found.area for found in find_faces(IMAGE, face_landmarker="x.task")]
    assert areas == sorted(areas, reverse=True)
    assert len(areas) == 3


def test_no_face_names_the_picture_its_size_and_what_to_do(detectors):
    with pytest.raises(
        NoFaceError, match=r"No face found in image 2 of 3 \(780×519\) by MediaPipe"
    ):
        find_faces(IMAGE, face_landmarker="x.task", picture="image 2 of 3")
    detectors["face-alignment"] = []
    with pytest.raises(NoFaceError, match="by MediaPipe and face-alignment. Use a picture"):
        find_faces(IMAGE, face_landmarker="x.task")
    with pytest.raises(NoFaceError, match="among the landmarks that were given"):
        find_faces(IMAGE, landmarks=[])


def test_garbage_of_a_detector_is_no_face(detectors):
    detectors["mediapipe"] = [Face.from_points(torch.rand(478, 3) * 300)]
    with pytest.raises(NoFaceError):
        find_faces(IMAGE, face_landmarker="x.task")


def test_garbage_of_the_user_is_named(detectors):
    with pytest.raises(
        PayloadError, match="Face 1 of 1 in the landmarks is not shaped like a face"
    ):
        find_faces(IMAGE, landmarks=(torch.rand(68, 2) * 300).tolist())
    with pytest.raises(PayloadError, match="Check that they belong to this picture"):
        find_faces(IMAGE, landmarks=face(x=3000).landmarks.tolist())


def test_without_any_source_the_error_lists_the_possibilities(detectors):
    with pytest.raises(PayloadError) as caught:
        find_faces(IMAGE)
    for way in ("JSON", "face_landmarker.task", "put a.pth into b"):
        assert way in str(caught.value)


def test_faces_are_chosen_by_size_and_a_wrong_number_says_how_many_there_are():
    faces = [face(90), face(50)]
    assert choose_face(faces, 1) is faces[1]
    with pytest.raises(PayloadError, match=r"Face 2 .* 2 faces .* 0 \(the largest\) to 1"):
        choose_face(faces, 2)
    with pytest.raises(PayloadError, match="Face -1 .* 1 face in the picture. Give 0"):
        choose_face(faces[:1], -1)


def test_no_face_is_a_payload_error_too():
    assert issubclass(landmarks.NoFaceError, PayloadError)


def test_flat_landmarks_will_do(detectors):
    found = find_faces(IMAGE, landmarks=to_68(face().dense)[:, :2].tolist())
    torch.testing.assert_close(found[0].landmarks, face().landmarks, atol=1.0, rtol=0)
