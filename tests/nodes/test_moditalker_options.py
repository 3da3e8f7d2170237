import pytest
import torch
from soliloquy.models.motion.atom_motion import AToMMotion
from soliloquy.models.payloads import PayloadError
from torch import nn

from ..models.motion.face_model_files import write_model, write_network
from .loaded import host, host_double, moditalker_options


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.fixture
def moditalker():
    return host.Managed(AToMMotion(network=nn.Linear(1, 1)))


def adjusted(managed, **changes):
    widgets = moditalker_options.MoDiTalkerOptions.GET_SCHEMA().inputs[1:]
    settings = {entry.id: entry.as_dict()["default"] for entry in widgets}
    return moditalker_options.MoDiTalkerOptions.execute(managed, **(settings | changes)).result[0]


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
