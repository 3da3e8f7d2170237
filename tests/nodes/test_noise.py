import pytest
import torch
from soliloquy.models.payloads import GuidedNoise, PayloadError

from .loaded import host_double
from .loaded import noise as nodes
from .performance import talking
from .test_render import portrait

PLAIN = {
    "sigma": 0.0,
    "distribution": "normal",
    "normalisation": "rest",
    "mode": "default",
}


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


def execute(motion, size="128", kernel_size=25, seed=0, r_min=0.1, **settings):
    return nodes.LandmarkGuidedNoise.execute(
        portrait(), motion, size, kernel_size, seed=seed, r_min=r_min, **{**PLAIN, **settings}
    ).result


def test_noise_mask_and_preview_come_out_for_every_frame(state):
    noise, mask, preview = execute(talking(30, 30))
    assert isinstance(noise, GuidedNoise)
    assert noise.frames.shape == (30, 3, 128, 128)
    assert mask.shape == (30, 128, 128)
    assert preview.shape == (30, 128, 128, 3)
    assert mask.max() <= 1
    assert torch.equal(preview[3], noise.frames[3].clamp(0, 1).permute(1, 2, 0))
    assert state.reports[-1][:2] == (30, 30)


def test_size_kernel_and_the_rest_reach_the_arithmetic(state):
    noise, mask, _ = execute(talking(2), size="256", kernel_size=11, r_min=0.0)
    assert noise.frames.shape[-1] == 256
    wide = execute(talking(2), size="256")[1]
    assert wide.mean() > 1.5 * mask.mean()
    uniform = execute(talking(2), distribution="uniform")[0]
    normal = execute(talking(2))[0]
    assert uniform.frames.mean() > normal.frames.mean() + 0.03


def test_a_seed_chooses_the_noise_and_not_the_mask(state):
    first, again, other = (execute(talking(2), seed=s) for s in (1, 1, 2**64 - 1))
    assert torch.equal(first[0].frames, again[0].frames)
    assert not torch.equal(first[0].frames, other[0].frames)
    assert torch.equal(first[1], other[1])


def test_the_reference_mode_says_what_it_cannot_do(state):
    with pytest.raises(PayloadError, match="a square of 128 pixels, not 256"):
        execute(talking(2), size="256", mode="reference")


def test_the_defaults_of_the_widgets_are_those_of_the_options():
    schema = nodes.LandmarkGuidedNoise.GET_SCHEMA()
    options = nodes.landmark_guided.NoiseOptions()
    widgets = {entry.id: entry for entry in schema.inputs}
    assert widgets["kernel_size"].default == options.kernel
    assert widgets["r_min"].default == options.r_min
    for name in ("distribution", "normalisation", "mode"):
        assert widgets[name].options[0] == getattr(options, name)


def test_an_interrupt_stops_the_node(state):
    state.interrupt_after = 0
    with pytest.raises(host_double.InterruptProcessingException):
        execute(talking(2))
