"""The walk starts exactly at the guided noise and ends at what the network says."""

import pytest
import torch
from soliloquy.models.render.identity_diffusion import process

SHAPE = (1, 2, 3, 8, 8)


def drawn(seed):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_nothing_of_the_clean_frames_is_left_in_the_end():
    alphas = process.alphas()
    assert alphas[-1] == 0
    noisy = process.noised(drawn(0), drawn(1), drawn(2), alphas[[-1]])
    assert torch.allclose(noisy, drawn(1) + drawn(2))
    assert torch.allclose(
        process.noised(drawn(0), drawn(1), drawn(2), torch.ones(1)), drawn(0), atol=1e-6
    )


def test_guided_noise_is_as_strong_as_in_stage_four():
    mask, noise, identity = torch.rand(2, 1, 8, 8), drawn(1)[0], torch.rand(1, 3, 8, 8)
    frames = identity + (mask + 0.1) * noise
    signed = process.to_signed(identity) + process.strength(mask, 0.1) * noise
    assert torch.allclose(process.to_signed(frames), signed, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("guided", [True, False])
def test_a_network_that_knows_the_frames_is_believed(steps, guided):
    ground = drawn(3)[:, :1] if guided else torch.zeros(1)
    visited = []

    def predict(noisy, timestep):
        visited.append((timestep, noisy))
        return drawn(0)

    found = process.sample(predict, ground + drawn(2), ground, steps=steps)
    assert torch.allclose(found, drawn(0), atol=1e-5)
    assert visited[0][0] == 999
    assert torch.allclose(visited[0][1], ground + drawn(2), atol=1e-6)
    if steps == 8:
        timestep, noisy = visited[3]
        alpha = process.alphas()[[timestep]]
        noise = drawn(2).expand(SHAPE)
        assert torch.allclose(noisy, process.noised(drawn(0), ground, noise, alpha), atol=1e-4)


def test_pictures_come_back_in_range():
    pictures = torch.tensor([-1.5, -1.0, 0.0, 2.0])
    assert process.from_signed(pictures).tolist() == [0.0, 0.0, 0.5, 1.0]


def test_quieted_frames_hold_no_noise_at_first_and_the_frames_in_the_end():
    mask, ground = torch.rand(1, 2, 1, 8, 8), drawn(3)[:, :1]
    noise = drawn(2) * process.strength(mask, 0.1)
    alphas = process.alphas()
    for timestep, wanted in ((999, ground.expand(SHAPE)), (0, drawn(0))):
        noisy = process.noised(drawn(0), ground, noise, alphas[[timestep]])
        quiet = process.quieted(noisy, ground, mask, torch.tensor([timestep]))
        assert torch.allclose(quiet, wanted, atol=0.2 if timestep == 0 else 1e-6)
    noisy = process.noised(drawn(0), torch.zeros(1), drawn(2), alphas[[500]])
    plain = process.quieted(noisy, None, mask, torch.tensor([500]))
    assert (plain - drawn(0)).std() < (noisy - drawn(0)).std()
