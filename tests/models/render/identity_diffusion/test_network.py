"""The network begins with the identity moved along, and every input reaches its frames."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.render.identity_diffusion.guidance import moved_along
from soliloquy.models.render.identity_diffusion.network import (
    EMOTIONS,
    GUIDE_CHANNELS,
    IdentityDiffusion,
    IdentityDiffusionConfig,
    Layers,
)

from .small import SMALL, network


def inputs(frames=3, size=32, batch=2):
    random = torch.Generator().manual_seed(0)
    noisy = torch.randn(batch, frames, 3, size, size, generator=random)
    guide = torch.rand(batch, frames, GUIDE_CHANNELS, size, size, generator=random)
    picture = torch.randn(batch, 3, size, size, generator=random)
    marks = torch.rand(batch, 1, size, size, generator=random)
    return noisy, torch.tensor([900, 20])[:batch], guide, (picture, marks)


def drawn(module, *arguments):
    """Layers, all in one tensor."""
    return module(*arguments).stacked()


def test_untrained_it_draws_the_identity_where_the_landmarks_take_it():
    module = IdentityDiffusion(SMALL).requires_grad_(False)
    noisy, timestep, guide, (picture, marks) = inputs()
    found = module(noisy, timestep, guide, (picture, marks)).over(picture)
    moved = moved_along(picture.repeat_interleave(3, 0), guide[:, :, -2:].flatten(0, 1))
    assert torch.allclose(found.flatten(0, 1), moved, atol=1e-6)


@pytest.mark.parametrize("changed", ["noisy", "timestep", "guide", "picture", "marks", "emotion"])
def test_every_input_matters(changed):
    module = network()
    noisy, timestep, guide, (picture, marks) = inputs()
    emotion = torch.tensor([7, 7])
    before = drawn(module, noisy, timestep, guide, (picture, marks), emotion)
    values = {"noisy": noisy, "guide": guide, "picture": picture, "marks": marks}
    values |= {"timestep": timestep, "emotion": emotion}
    values[changed] = values[changed].flip(0) if changed != "emotion" else torch.tensor([4, 0])
    after = drawn(
        module,
        values["noisy"],
        values["timestep"],
        values["guide"],
        (values["picture"], values["marks"]),
        values["emotion"],
    )
    assert not torch.allclose(before, after, atol=1e-5)


def test_nothing_of_the_first_noise_is_seen_and_nothing_is_painted_off_the_mask():
    module = network()
    noisy, _, guide, identity = inputs()
    guide[:, :, 0, :, :16] = 0
    last = torch.tensor([999, 999])
    found = module(noisy, last, guide, identity)
    assert torch.equal(found.paint, module(noisy.flip(0), last, guide, identity).paint)
    assert not found.paint[..., :16].any()
    assert not found.share[..., :16].any()
    assert found.paint[..., 16:].any()


def layers_of(shift, share, paint):
    sizes = {"shift": 2, "share": 1, "paint": 3}
    parts = {"shift": shift, "share": share, "paint": paint}
    return Layers(
        **{name: torch.as_tensor(parts[name]).expand(1, 1, n, 8, 8) for name, n in sizes.items()}
    )


def test_layers_are_laid_over_finer_pictures():
    shift = torch.tensor([1.0, 0.0]).view(1, 1, 2, 1, 1)
    layers = Layers.unstacked(layers_of(shift, 0.25, 0.1).stacked())
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    coarse = picture[..., ::2, ::2]
    frames = layers.over_finer(picture, coarse)[0, 0]
    assert torch.allclose(frames[..., 2:], 0.75 * picture[0, ..., :-2] + 0.1, atol=1e-4)
    same = layers.over(coarse)[0, 0]
    assert torch.allclose(same[..., 1:], 0.75 * coarse[0, ..., :-1] + 0.1, atol=1e-4)


def test_what_is_stretched_is_no_finer_than_the_layers():
    down = torch.zeros(1, 1, 2, 8, 8)
    down[:, :, 1] = torch.arange(8).view(8, 1) * 0.9  # ten times as high
    assert (layers_of(down, 0.0, 0.0).stretched() == 1).all()
    assert not layers_of(down / 4, 0.0, 0.0).stretched().any()
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 3, 16, 16)
    coarse = torch.zeros(1, 3, 8, 8)
    assert layers_of(down, 0.0, 0.0).over_finer(stripes, coarse).abs().max() < 1e-5
    assert layers_of(down / 4, 0.0, 0.0).over_finer(stripes, coarse).abs().min() > 0.9


def test_frames_know_of_their_neighbours():
    module, (noisy, timestep, guide, identity) = network(), inputs(frames=9)
    changed = noisy.clone()
    changed[:, 4] += 1
    difference = (
        (
            drawn(module, changed, timestep, guide, identity)
            - drawn(module, noisy, timestep, guide, identity)
        )
        .abs()
        .amax((0, 2, 3, 4))
    )
    assert (difference[3:6] > 1e-5).all()


def test_clips_of_a_batch_do_not_know_of_each_other():
    module, (noisy, timestep, guide, (picture, marks)) = network(), inputs()
    together = drawn(module, noisy, timestep, guide, (picture, marks))
    alone = drawn(module, noisy[1:], timestep[1:], guide[1:], (picture[1:], marks[1:]))
    assert torch.allclose(together[1:], alone, atol=1e-5)


def test_a_part_of_a_picture_is_drawn_as_in_the_whole():
    module = network()
    noisy, timestep, guide, (picture, marks) = inputs(size=96)
    whole = drawn(module, noisy, timestep, guide, (picture, marks))
    noisy, guide, picture, marks = (x[..., 16:80, 16:80] for x in (noisy, guide, picture, marks))
    part = drawn(module, noisy, timestep, guide, (picture, marks))
    assert torch.allclose(part[..., 28:36, 28:36], whole[..., 44:52, 44:52], atol=1e-4)


def test_an_identity_is_recognised_once_for_all_steps():
    module, (noisy, timestep, guide, identity) = network(), inputs()
    known = module.recognise(*identity)
    assert torch.equal(
        drawn(module, noisy, timestep, guide, known),
        drawn(module, noisy, timestep, guide, identity),
    )


def test_without_an_emotion_it_is_neutral():
    module, arguments = network(), inputs()
    neutral = torch.full((2,), EMOTIONS.index("neutral"))
    assert torch.equal(drawn(module, *arguments), drawn(module, *arguments, neutral))


def test_gradients_reach_every_parameter_but_the_other_emotions():
    module = network().requires_grad_(True)
    drawn(module, *inputs()).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("size", [(24, 40), (64, 64)])
def test_other_sizes_and_lengths_work(size):
    noisy, guide = torch.randn(1, 5, 3, *size), torch.rand(1, 5, GUIDE_CHANNELS, *size)
    identity = (torch.randn(1, 3, *size), torch.rand(1, 1, *size))
    layers = network()(noisy, torch.tensor([3]), guide, identity)
    assert layers.over(identity[0]).shape == noisy.shape


def test_it_survives_a_weight_file(tmp_path):
    module, path = network(), tmp_path / "own.safetensors"
    checkpoints.save(module, path, vars(SMALL))
    loaded = checkpoints.load("identity_diffusion", path)
    assert loaded.config == SMALL
    assert torch.allclose(drawn(loaded, *inputs()), drawn(module, *inputs()), atol=0.05)
    with pytest.raises(CheckpointError, match="no configuration"):
        checkpoints.load("identity_diffusion", module.state_dict())


def test_the_bundled_sizes_are_small():
    with torch.device("meta"):
        module = IdentityDiffusion(IdentityDiffusionConfig())
    assert sum(p.numel() for p in module.parameters()) < 1_000_000
