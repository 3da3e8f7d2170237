import pytest
import torch
from soliloquy.models.motion.atom_motion import AToMMotion
from soliloquy.models.payloads import PayloadError
from torch import nn

from ..models.motion.face_model_files import write_model, write_network
from ..models.render.drawn_face import drawn_face
from .loaded import host, host_double, moditalker_options


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.fixture
def moditalker():
    return host.Managed(AToMMotion(network=nn.Linear(1, 1)))


def adjusted(managed, **changes):
    return run(managed, **changes).result[0]


def run(managed, **changes):
    inputs = [entry.as_dict() | {"id": entry.id} for entry in schema().inputs]
    settings = {entry["id"]: entry["default"] for entry in inputs if "default" in entry}
    return moditalker_options.MoDiTalkerOptions.execute(managed, **(settings | changes))


def schema():
    return moditalker_options.MoDiTalkerOptions.GET_SCHEMA()


def test_the_defaults_of_the_node_are_those_of_the_model(moditalker):
    made, given = adjusted(moditalker).system, moditalker.system
    assert (made.mode, made.gestures, made.reconstruction) == (given.mode, given.gestures, None)


def test_options_arrive_in_a_copy_with_the_same_networks(moditalker):
    made = adjusted(moditalker, mode="reference", gestures=False)
    assert (made.system.mode, made.system.gestures) == ("reference", False)
    assert moditalker.system.mode == "default"
    assert made.system.network is moditalker.system.network
    assert made.get_models() is moditalker.get_models()


def test_a_folder_brings_the_users_face_model(moditalker, tmp_path):
    write_model(tmp_path)
    write_network(tmp_path)
    model = adjusted(moditalker, face_model=f" {tmp_path} ").system.reconstruction.model
    assert model.mean.shape == (68, 3)
    assert torch.isfinite(model.expression).all()


def test_a_folder_without_the_files_is_refused(moditalker, tmp_path):
    with pytest.raises(PayloadError, match=r"BFM_model_front\.mat|epoch_20\.pth"):
        adjusted(moditalker, face_model=str(tmp_path))


def test_other_models_are_refused():
    with pytest.raises(PayloadError, match="options of MoDiTalker"):
        adjusted(host.Managed(nn.Linear(1, 1)))


def seen(*frames):
    """FACE_LANDMARKS of drawn faces, a list of faces per frame."""
    faces = [[{"landmarks_xy": face.dense[:, :2].numpy()} for face in frame] for frame in frames]
    return {"frames": faces, "image_size": (320, 256)}


def test_a_driving_video_brings_its_face_and_says_where_none_was_seen(moditalker):
    one, other = (drawn_face(rotation=(0.0, yaw, 0.0), dense=True) for yaw in (0.0, 8.0))
    image = torch.stack([one.image, one.image, other.image]).float() / 255
    made = run(moditalker, driving_video=image, driving_landmarks=seen([one], [], [other]))
    driving = made.result[0].system.driving
    assert torch.equal(driving.frames, torch.stack([one.image, one.image, other.image]))
    assert torch.allclose(driving.landmarks[0, :, :2], one.landmarks[:, :2], atol=0.1)
    between = (driving.landmarks[0] + driving.landmarks[2]) / 2
    assert torch.allclose(driving.landmarks[1], between, atol=1e-3)
    assert "1 of 3 frames" in made.ui.as_dict()["text"][0]
    assert moditalker.system.driving is None


def test_landmarks_of_another_video_are_refused(moditalker):
    face = drawn_face(dense=True)
    image = face.image[None].float() / 255
    with pytest.raises(PayloadError, match="FACE_LANDMARKS of 2 pictures"):
        adjusted(moditalker, driving_video=image, driving_landmarks=seen([face], [face]))
