"""The tables between 68 landmarks and MediaPipe's mesh, and the mean face."""

import torch
from soliloquy.models.portrait.mapping import (
    MEDIAPIPE_TO_68,
    MIRROR_68,
    REGIONS,
    mean_face,
    mean_landmarks,
    mirror_478,
    open_face,
    to_68,
)

FLIP = torch.tensor([-1.0, 1.0, 1.0])


def test_every_landmark_has_a_vertex_of_its_own():
    assert len(set(MEDIAPIPE_TO_68)) == 68
    assert max(MEDIAPIPE_TO_68) < 468  # irises are nobody's landmark


def test_regions_cover_every_landmark_once():
    assert sorted(index for region in REGIONS.values() for index in region) == list(range(68))


def test_mirroring_twice_changes_nothing():
    assert [MIRROR_68[index] for index in MIRROR_68] == list(range(68))
    assert torch.equal(mirror_478()[mirror_478()], torch.arange(478))


def test_the_two_mirror_tables_agree():
    vertices = torch.tensor(MEDIAPIPE_TO_68)
    assert torch.equal(mirror_478()[vertices], vertices[list(MIRROR_68)])


def test_the_mean_face_is_symmetric_frontal_and_of_unit_size():
    for face in (mean_face(), open_face()):
        torch.testing.assert_close(face[mirror_478()] * FLIP, face)
    landmarks = mean_landmarks()
    torch.testing.assert_close(landmarks[45] - landmarks[36], torch.tensor([1.0, 0.0, 0.0]))
    assert landmarks[8, 1] > landmarks[57, 1] > landmarks[30, 1] > landmarks[27, 1]  # y down
    assert landmarks[30, 2] < landmarks[36, 2] < landmarks[0, 2]  # z away: nose, eyes, ears


def test_landmarks_run_along_their_contours():
    landmarks = mean_landmarks()
    for points in (range(17), range(17, 27), range(31, 36), range(48, 55), range(60, 65)):
        x = landmarks[list(points), 0]
        assert (x.diff() > 0).all()


def test_lips_are_closed_on_the_mean_face_and_apart_on_the_open_one():
    gap = lambda face: float(face[14, 1] - face[13, 1])  # noqa: E731
    assert 0 <= gap(mean_face()) < 0.02
    assert gap(open_face()) > 0.1


def test_the_mean_face_cannot_be_spoiled_by_its_users():
    mean_face().zero_()
    assert mean_face().abs().sum() > 0


def test_landmarks_are_picked_along_the_last_but_one_axis():
    mesh = torch.rand(2, 3, 478, 2)
    assert torch.equal(to_68(mesh)[:, :, 8], mesh[:, :, 152])
