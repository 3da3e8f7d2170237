import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.identity_diffusion.folder import load_folder
from soliloquy.models.render.identity_diffusion.network import EMOTIONS
from soliloquy.models.render.identity_diffusion.published import (
    PublishedRenderer,
    PublishedSettings,
)
from soliloquy.models.render.identity_diffusion.renderer import IdentityDiffusionRenderer
from soliloquy.models.render.warp import WarpRenderer

from ..models.plain_resnet import plain_resnet
from ..models.render.identity_diffusion.small import face, network, talking
from ..models.render.identity_diffusion.test_folder import write
from ..models.render.identity_diffusion.test_published import CONFIG
from .loaded import atl_diff_options, host, host_double, noise, render


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.fixture
def published(tmp_path):
    resnet = checkpoints.load("resnet50", plain_resnet(classes=3).state_dict())
    folder = load_folder(write(tmp_path / "folder", CONFIG, {"prediction_type": "sample"}))
    return host.Managed(PublishedRenderer(folder, resnet))


@pytest.fixture
def own():
    return host.Managed(IdentityDiffusionRenderer(network(), size=32))


def adjusted(managed, **changes):
    widgets = atl_diff_options.ATLDiffRendererOptions.GET_SCHEMA().inputs[1:]
    settings = {entry.id: entry.as_dict().get("default") for entry in widgets}
    return atl_diff_options.ATLDiffRendererOptions.execute(managed, **(settings | changes)).result[
        0
    ]


def test_the_defaults_of_the_node_are_those_of_both_renderers(published, own):
    assert adjusted(published).system.settings == PublishedSettings()
    made = adjusted(own).system
    for name in ("steps", "seed", "emotion", "size"):
        assert getattr(made, name) == getattr(own.system, name)


def test_the_options_arrive_in_a_copy_with_the_same_networks(published, own):
    made = adjusted(published, steps=4, seed=7, mode="reference")
    assert made.system.settings == PublishedSettings(steps=4, seed=7, mode="reference")
    assert published.system.settings == PublishedSettings()
    assert made.get_models() is published.get_models()
    assert len(made.get_models()) == 2
    told = adjusted(own, steps=4, seed=7, emotion="happy").system
    assert (told.steps, told.seed, EMOTIONS[told.emotion]) == (4, 7, "happy")
    assert EMOTIONS[own.system.emotion] == "neutral"


def test_another_renderer_is_refused():
    with pytest.raises(PayloadError, match="Choose 'atl_diff' or 'atl_diff_published'"):
        adjusted(host.Managed(WarpRenderer()))


def test_noise_in_the_published_way_reaches_the_published_renderer(published, own):
    """Landmark-Guided Noise → Render Portrait, both in the mode "reference"."""
    portrait, motion = face(), talking(face(), 3)
    execute = noise.LandmarkGuidedNoise.execute
    widgets = {"size": "128", "kernel_size": 25, "r_min": 0.1, "seed": 0, "mode": "reference"}
    made = execute(portrait, motion, **widgets).result[0]
    chosen = adjusted(published, mode="reference")
    chosen.system.published = Half()
    frames = render.RenderPortrait.execute(chosen, portrait, motion, "picture", 8, made).result[0]
    assert frames.shape == (3, *portrait.size, 3)
    with pytest.raises(PayloadError, match="shows the whole picture"):
        render.RenderPortrait.execute(own, portrait, motion, "picture", 8, made)


class Half:
    def sample(self, start, context, *, steps, on_step):
        return torch.full_like(start, 0.5)
