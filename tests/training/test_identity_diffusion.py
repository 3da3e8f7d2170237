"""Training starts from the renderer's own noise and resumes; measures tell what is better."""

import random
from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.noise.landmark_guided import NoiseOptions, guided_noise
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.identity_diffusion import process
from soliloquy.models.render.identity_diffusion.network import (
    IdentityDiffusion,
    IdentityDiffusionConfig,
    Layers,
)
from soliloquy.training import guided_noise as comparison
from soliloquy.training.identity_diffusion import (
    IdentityDiffusionRecipe,
    batches,
    conditions,
    identity_loss,
    mirrored,
    mouth_place,
    recoloured,
    reconstruction,
)
from soliloquy.training.identity_diffusion_data import SIZE, Clips
from soliloquy.training.loop import LoopConfig

from ..models.render.identity_diffusion.small import SMALL, face, talking


def clips(count=2, frames=6):
    """A bright disc that wanders with its landmarks."""
    random_numbers = torch.Generator().manual_seed(0)
    rest = torch.rand(count, 68, 2, generator=random_numbers) * 30 + 50
    rest[:, 36], rest[:, 45] = torch.tensor([50.0, 60.0]), torch.tensor([80.0, 60.0])
    way = torch.linspace(0, 6, frames).view(1, frames, 1, 1)
    points = rest[:, None] + way
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")

    def disc(shift):
        return (((x - 64 - shift) ** 2 + (y - 64 - shift) ** 2) < 400).mul(200).byte()

    drawn = torch.stack([disc(float(s)).expand(3, -1, -1) for s in way.flatten()])
    return Clips(
        identity=disc(0.0).expand(count, 3, -1, -1).clone(),
        frames=drawn.expand(count, -1, -1, -1, -1).clone(),
        points=points,
        rest=rest,
        kernel=torch.full((count,), 25),
        emotion=torch.tensor([7, 4])[:count],
        names=["a", "b"][:count],
    )


def recipe(**changes):
    loop = LoopConfig(steps=4, learning_rate=3e-3, warmup=1, log_every=2, save_every=2)
    return replace(
        IdentityDiffusionRecipe(network=SMALL, loop=loop, frames=4, side=64, batch=1), **changes
    )


def test_a_batch_is_decided_by_its_number():
    draw = batches(clips(), recipe())
    assert torch.equal(draw(3).noisy, draw(3).noisy)
    assert not torch.equal(draw(3).noisy, draw(4).noisy)
    assert draw(0).clean.shape == (1, 4, 3, 64, 64)
    assert draw(0).guide.shape == (1, 4, 6, 64, 64)


@pytest.mark.parametrize("start", ["guided", "plain"])
def test_what_is_noisy_is_clean_where_no_noise_is_left(start, monkeypatch):
    monkeypatch.setattr(process, "alphas", lambda: torch.ones(10))
    batch = batches(clips(), recipe(network=replace(SMALL, start=start)))(0)
    assert torch.allclose(batch.noisy, batch.clean, atol=1e-6)


def test_training_noises_as_stage_four_does():
    portrait = face()
    motion = talking(portrait, 3)
    noise = guided_noise(portrait, motion, NoiseOptions(size=SIZE, kernel=25))
    from soliloquy.models.motion.posed import posed_landmarks
    from soliloquy.models.noise.landmark_guided import square_affine

    affine = square_affine(portrait, SIZE).float()
    points = posed_landmarks(motion, portrait)[..., :2] @ affine[:2, :2].T + affine[:2, 2]
    rest = portrait.landmarks[:, :2] @ affine[:2, :2].T + affine[:2, 2]
    assert torch.allclose(conditions(points, rest, 25)["guide"][:, :1], noise.mask, atol=1e-3)


def test_a_mirror_turns_shifts_around():
    guide = torch.rand(2, 6, 3, 5)
    flipped = mirrored("guide", guide.clone())
    assert torch.equal(flipped[:, 4], -guide[:, 4].flip(-1))
    assert torch.equal(flipped[:, [0, 5]], guide[:, [0, 5]].flip(-1))
    assert torch.equal(mirrored("marks", guide.clone()), guide.flip(-1))


def test_other_colours_are_the_same_for_all_frames_and_stay_in_range():
    pictures = torch.rand(1, 3, 4, 4).expand(3, -1, -1, -1)
    other = recoloured(pictures, random.Random(1), torch.Generator().manual_seed(1))
    assert torch.equal(other[0], other[2])
    assert not torch.allclose(other[0], pictures[0], atol=0.01)
    assert 0 <= float(other.min()) <= float(other.max()) <= 1


def test_a_perfect_network_pays_only_for_what_it_paints_over():
    batch = batches(clips(), recipe())(0)
    every = torch.ones_like(batch.clean[:, :, :1])
    shift = torch.zeros_like(batch.guide[:, :, -2:])
    perfect = Layers(shift=shift, share=every, paint=batch.clean)
    value, parts = identity_loss(lambda *_: perfect, batch, recipe())
    assert parts["pixels"] == parts["edges"] == parts["time"] == 0
    assert float(value) == pytest.approx(recipe().share_weight * parts["share"])
    off = Layers(shift=shift, share=every, paint=batch.clean + 0.1)
    worse, _ = identity_loss(lambda *_: off, batch, recipe())
    assert float(worse) > float(value) + 0.05


def test_what_moves_in_from_outside_a_part_is_not_judged():
    batch = batches(clips(), recipe())(0)
    every = torch.ones_like(batch.clean[:, :, :1])
    paint = batch.clean.clone()
    paint[..., :8] += 1
    layers = Layers(shift=torch.zeros_like(batch.guide[:, :, -2:]), share=every, paint=paint)
    _, parts = identity_loss(lambda *_: layers, batch, recipe())
    assert parts["pixels"] == 0
    _, parts = identity_loss(lambda *_: layers, batch, recipe(side=SIZE))
    assert parts["pixels"] > 0


def test_the_mouths_place_is_around_its_landmarks():
    points = torch.full((1, 68, 2), 10.0)
    points[:, 48:] = torch.tensor([70.0, 90.0])
    points[:, 48, 0], points[:, 54, 0] = 60, 80
    place = mouth_place(points)[0]
    assert place.argmax() == 90 * SIZE + 70
    assert 0.9 < float(place[90, 73]) < 1
    assert float(place[90, 100]) < 0.01


def test_training_leaves_weights_and_goes_on_where_it_stopped(tmp_path):
    (tmp_path / "clips").mkdir()
    for name in ("train", "test"):
        clips().save(tmp_path / "clips" / f"{name}.safetensors")
    logs = []
    recipe().run(tmp_path, lambda step, parts, _: logs.append(step))
    first = checkpoints.load("identity_diffusion", tmp_path / "identity_diffusion.safetensors")
    longer = replace(recipe(), loop=replace(recipe().loop, steps=6))
    longer.run(tmp_path, lambda step, parts, _: logs.append(step))
    second = checkpoints.load("identity_diffusion", tmp_path / "identity_diffusion.safetensors")
    assert logs == [2, 4, 6]
    assert not torch.equal(first.leave.weight, second.leave.weight)
    assert first.config == SMALL


def test_landmarks_alone_draw_better_than_the_still_portrait():
    untrained = IdentityDiffusion(SMALL).eval().requires_grad_(False)
    errors = reconstruction(untrained, clips(1), steps=2)
    assert errors["drawn face"] == pytest.approx(errors["moved face"], rel=0.05)
    assert errors["drawn face"] < 0.5 * errors["still face"]
    assert errors["drawn frame"] < errors["still frame"]


def test_both_starts_are_compared_on_the_same_clips(tmp_path):
    files = {}
    for start in ("guided", "plain"):
        torch.manual_seed(0)
        config = IdentityDiffusionConfig(**{**vars(SMALL), "start": start})
        files[start] = tmp_path / f"{start}.safetensors"
        checkpoints.save(IdentityDiffusion(config), files[start], vars(config))
    report = comparison.compare(files["guided"], files["plain"], clips(1), steps=2)
    assert report["guided / plain"]["drawn face"] == pytest.approx(
        report["guided"]["drawn face"] / report["plain"]["drawn face"]
    )
    with pytest.raises(PayloadError, match="start from plain noise; give one for guided"):
        comparison.compare(files["plain"], files["guided"], clips(1), steps=2)
