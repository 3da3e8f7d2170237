import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov.renderer import MToVSettings
from soliloquy.models.render.warp import WarpRenderer

from ..models.render.mtov.moving import renderer
from .loaded import host, host_double, mtov_options


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.fixture
def mtov():
    return host.Managed(renderer())


def adjusted(managed, **changes):
    widgets = mtov_options.MToVOptions.GET_SCHEMA().inputs[1:]
    settings = {entry.id: entry.as_dict().get("default") for entry in widgets}
    return mtov_options.MToVOptions.execute(managed, **(settings | changes)).result[0]


def test_the_defaults_of_the_node_are_those_of_the_renderer(mtov):
    assert adjusted(mtov).system.settings == MToVSettings()


def test_the_options_arrive_in_a_copy_with_the_same_networks(mtov):
    made = adjusted(mtov, steps=20, start_ratio=1.0, seed=7, mode="reference", crop_scale=1.5)
    assert made.system.settings == MToVSettings(
        steps=20, start_ratio=1.0, seed=7, mode="reference", crop_scale=1.5
    )
    assert mtov.system.settings.steps == 4
    assert made.system.networks is mtov.system.networks
    assert made.get_models() is mtov.get_models()
    assert len(made.get_models()) == 3


def test_a_driving_video_arrives_as_pixels(mtov):
    made = adjusted(mtov, pose_frames=torch.full((5, 4, 6, 3), 0.5))
    assert made.system.pose_frames.shape == (5, 4, 6, 3)
    assert made.system.pose_frames.dtype == torch.uint8
    assert made.system.pose_frames.min() == 128
    assert mtov.system.pose_frames is None


def test_another_renderer_is_refused():
    with pytest.raises(PayloadError, match="Choose 'mtov' in Load Renderer"):
        adjusted(host.Managed(WarpRenderer()))


def test_steps_that_leave_nothing_are_refused(mtov):
    with pytest.raises(PayloadError, match="start ratio is 0.0"):
        adjusted(mtov, steps=2, start_ratio=0.0)
