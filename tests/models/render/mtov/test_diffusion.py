import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.mtov import diffusion

from ....golden_recipe import given, golden


def test_the_schedule_is_the_published_one():
    found = diffusion.schedule().alphas[[0, 9, 239, 249, 250, 499, 999]]
    assert torch.allclose(found, golden("mtov_unet")["mtov_alphas_cumprod"], atol=2e-7)


def test_the_timesteps_are_the_published_ones():
    assert [*diffusion.timesteps(), -1] == golden("mtov_unet")["mtov_times100"].tolist()
    assert diffusion.timesteps(100, 0.25) == list(range(249, 0, -10))
    assert diffusion.timesteps(4, 0.5) == [499, 249]


@pytest.mark.parametrize(("steps", "ratio"), [(0, 1.0), (1001, 1.0), (10, 0.0), (10, 1.5), (2, -1)])
def test_impossible_steps_are_refused(steps, ratio):
    with pytest.raises(PayloadError):
        diffusion.timesteps(steps, ratio)


def test_sampling_with_a_stand_in_for_the_network_is_golden(monkeypatch):
    numbers = iter(range(1, 26))
    monkeypatch.setattr(
        "soliloquy.models.sampling.seeded_noise",
        lambda shape, generator: given(f"un_n{next(numbers)}", tuple(shape)),
    )
    cond = given("un_c", (2, 8, 2048), 0.5).clamp(-1, 1)[:1, :4]
    clean = given("un_zref", (1, 4, 2048), 0.5).clamp(-1, 1)
    start = diffusion.noised_start(clean, given("un_n0", (1, 4, 2048)))
    found = diffusion.sample(
        lambda x, t: 0.3 * x + 0.2 * cond, start, diffusion.timesteps(100, 0.25), torch.Generator()
    )
    assert torch.allclose(found[0], golden("mtov_unet")["mtov_ns25_linear"], atol=1e-5)


def test_a_seed_gives_the_same_latent_and_the_last_steps_stay_near_the_start():
    clean = torch.full((1, 4, 68), 0.5)

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(clean.shape, generator=generator)
        start = diffusion.noised_start(clean, noise, 0.1)
        alpha = diffusion.schedule().alphas

        def knows(x, t):  # a network that knows the clean latent
            return (x - alpha[t].sqrt() * clean) / (1 - alpha[t]).sqrt()

        return diffusion.sample(knows, start, diffusion.timesteps(20, 0.1), generator)

    assert torch.equal(run(1), run(1))
    assert torch.allclose(run(2), clean, atol=1e-4)
