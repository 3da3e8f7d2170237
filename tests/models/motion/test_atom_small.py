"""The small network has what the published one lacks: halves that are apart, and a way back."""

from dataclasses import asdict

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.atom_small import REGIONS, UPPER, AToMSmall, AToMSmallConfig
from soliloquy.models.motion.rig import load_rig

SMALL = {"speech_channels": 6, "width": 16, "depth": 2}
LIPS = [i for i in range(204) if not UPPER.start <= i < UPPER.stop]


def network(**changes):
    torch.manual_seed(0)
    module = AToMSmall(AToMSmallConfig(**{**SMALL, **changes})).eval()
    module.face.copy_(load_rig().mean_face.flatten())
    return module.requires_grad_(False)


def inputs(frames=30, batch=2):
    random = torch.Generator().manual_seed(1)
    return (
        torch.randn(batch, frames, 204, generator=random),
        load_rig().mean_face.flatten() + 0.1 * torch.randn(batch, 204, generator=random),
        torch.randn(batch, frames, 6, generator=random),
        torch.tensor([500, 20][:batch]),
    )


def test_lips_hear_and_the_upper_half_does_not():
    noisy, first, speech, timestep = inputs()
    change = (network()(noisy, first, speech + 1, timestep) - network()(*inputs())).abs().amax(1)
    assert float(change[:, LIPS].min()) > 1e-5
    assert float(change[:, UPPER].max()) == 0


def test_without_the_halves_everything_hears():
    noisy, first, speech, timestep = inputs()
    module = network(disentangled=False)
    change = module(noisy, first, speech + 1, timestep) - module(noisy, first, speech, timestep)
    assert float(change.abs().amax((0, 1)).min()) > 1e-6


def test_sound_that_is_far_away_reaches_nothing_directly():
    noisy, first, speech, timestep = inputs(60)
    later = speech.clone()
    later[:, 50:] += 1
    module = network(depth=1, reach=3)
    change = module(noisy, first, later, timestep) - module(noisy, first, speech, timestep)
    assert float(change[:, :47].abs().max()) == 0
    assert float(change[:, 48].abs().max()) > 1e-5


@pytest.mark.parametrize("landmarks", [True, False])
def test_who_speaks_matters_only_with_the_landmark_embedding(landmarks):
    noisy, first, speech, timestep = inputs()
    module = network(landmarks=landmarks)
    change = module(noisy, first + 0.1, speech, timestep) - module(noisy, first, speech, timestep)
    assert (float(change.abs().max()) > 1e-4) == landmarks


def test_what_is_dropped_makes_no_difference():
    noisy, first, speech, timestep = inputs()
    dropped = torch.tensor([True, False])
    module = network()
    found = module(noisy, first, speech, timestep, dropped)
    other = module(noisy, first + 1, speech + 1, timestep, dropped)
    assert torch.equal(found[1], other[1])
    assert not torch.allclose(found[0], other[0], atol=1e-4)


@pytest.mark.parametrize("residual", [True, False])
def test_landmarks_come_back_from_what_the_network_says(residual):
    module, landmarks = network(residual=residual), torch.randn(2, 5, 204)
    module.mean.copy_(torch.randn(204))
    module.deviation.copy_(torch.rand(204) + 0.5)
    said = module.standardise(landmarks, landmarks[:, 2])
    assert torch.allclose(module.restore(said, landmarks[:, 2]), landmarks, atol=1e-5)
    assert torch.allclose(said[:, 2] * module.deviation, -module.mean, atol=1e-5) == residual


def test_regions_cover_every_landmark_once():
    assert [i for start, stop in REGIONS for i in range(start, stop)] == list(range(68))
    assert sorted(sum(AToMSmallConfig().halves, ())) == list(range(204))


@pytest.mark.parametrize("changes", [{}, {"landmarks": False}, {"disentangled": False}])
def test_a_file_brings_the_network_back(tmp_path, changes):
    module = network(**changes)
    path = tmp_path / "small.safetensors"
    checkpoints.save(module.half(), path, asdict(module.config))
    again = checkpoints.load("moditalker_motion", path)
    assert again.config == module.config
    assert torch.equal(again(*inputs()), module.float()(*inputs()))


def test_gradients_reach_every_parameter_that_is_trained():
    module = network().requires_grad_(True)
    for fixed in (module.mean, module.deviation, module.face):
        fixed.requires_grad_(False)
    module(*inputs(), torch.tensor([True, False])).square().sum().backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)
