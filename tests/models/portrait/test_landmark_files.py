"""JSON landmarks in each documented form, and the host's FACE_LANDMARKS."""

import json

import numpy as np
import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.affine import square_crop
from soliloquy.models.portrait.landmark_files import read_landmarks
from soliloquy.models.portrait.mapping import mean_face, to_68

SIZE = (400, 600)
MESH = mean_face() * 80 + torch.tensor([300.0, 150.0, 0.0])
MESH_ROWS, ROWS = MESH.tolist(), to_68(MESH).tolist()


@pytest.mark.parametrize(
    ("value", "count"),
    [
        ({"landmarks68": ROWS}, 1),
        ({"landmarks68": [row[:2] for row in ROWS]}, 1),
        ({"landmarks478": MESH_ROWS, "about": "a note"}, 1),
        (ROWS, 1),
        (MESH_ROWS, 1),
        ([ROWS, ROWS], 2),
        ([{"landmarks68": ROWS}, {"landmarks478": MESH_ROWS}], 2),
        ({"faces": [{"landmarks68": ROWS}]}, 1),
        ({"faces": []}, 0),
    ],
)
def test_every_documented_form_is_read_from_values_and_from_files(tmp_path, value, count):
    file = tmp_path / "landmarks.json"
    file.write_text(json.dumps(value), encoding="utf-8")
    for source in (value, file, str(file)):
        faces = read_landmarks(source, SIZE)
        assert len(faces) == count
        for face in faces:
            torch.testing.assert_close(face.landmarks[:, :2], to_68(MESH)[:, :2])


@pytest.mark.parametrize("wrap", [lambda face: face, lambda face: {"faces": [face]}])
def test_points_are_scaled_from_the_picture_they_were_measured_in(wrap):
    face = wrap({"landmarks68": ROWS, "image_size": [800, 300]})
    found = read_landmarks(face, SIZE)[0].landmarks
    wanted = to_68(MESH) * torch.tensor([2.0, 0.5, 2.0])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ('{"points": []}', "keys points"),
        ('"landmarks"', "landmarks68"),
        ("3", "landmarks68"),
        ("null", "landmarks68"),
        ("[[1, 2], [3]]", "not a list of"),
        ('[["a", "b"]]', "not a list of"),
        ('{"landmarks68": [[1, 2]]}', "68 or 478"),
        ('{"landmarks68": {"a": 1}}', "not a list of"),
        ("[[[[1, 2]]]]", "68 or 478|not a list of"),
        (json.dumps({"landmarks68": ROWS, "image_size": [0, 3]}), "image_size"),
        (json.dumps({"landmarks68": ROWS, "image_size": "big"}), "image_size"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(tmp_path, content, message):
    file = tmp_path / "landmarks.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(PayloadError, match=message):
        read_landmarks(file, SIZE)


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(PayloadError, match=r"nowhere\.json' cannot be read: No such file"):
        read_landmarks("nowhere.json", SIZE)


def host_value(mesh, size=SIZE):
    """FACE_LANDMARKS as the host makes them: the mesh in a turned crop, and flat in the picture."""
    crop = square_crop(to_68(mesh), scale=1.5, size=192).float()
    zoom = torch.linalg.det(crop[:2, :2]).sqrt()
    inner = torch.cat([mesh[:, :2] @ crop[:2, :2].T + crop[:2, 2], mesh[:, 2:] * zoom], -1)
    face = {"landmarks_xy": mesh[:, :2].numpy(), "landmarks_3d": inner.numpy(), "score": 0.9}
    return {"frames": [[face], []], "image_size": size, "connection_sets": {}}


def test_face_landmarks_of_the_host_become_pixels_in_all_three_axes():
    turned = mean_face() @ torch.tensor([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    mesh = turned * 80 + torch.tensor([300.0, 150.0, 0.0])
    (face,) = read_landmarks(host_value(mesh), SIZE)
    torch.testing.assert_close(face.dense, mesh, atol=0.01, rtol=0)


def test_face_landmarks_of_a_picture_without_a_face_are_no_faces():
    assert read_landmarks({"frames": [[]], "image_size": SIZE}, SIZE) == []


def test_the_hosts_value_is_not_changed():
    value = host_value(MESH)
    before = value["frames"][0][0]["landmarks_3d"].copy()
    read_landmarks(value, (200, 300))
    assert np.array_equal(value["frames"][0][0]["landmarks_3d"], before)
