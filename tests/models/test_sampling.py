"""Schedules have the published numbers, samplers go from noise to the sample that is there."""

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.models.sampling import (
    Schedule,
    add_noise,
    alphas_cumprod,
    cosine_betas,
    ddim_step,
    ddim_step_0_11,
    guided,
    linear_betas,
    sample_ddim,
    scaled_linear_betas,
    seeded_noise,
    spaced_timesteps,
    trailing_timesteps,
)

ALPHAS = alphas_cumprod(linear_betas(1e-5, 8e-3))
CLEAN = torch.linspace(-2, 2, 15).reshape(3, 5)


def knowing_noise(noisy, timestep):
    """The noise in a sample whose clean state is known: the perfect denoiser."""
    alpha = float(ALPHAS[timestep])
    return (noisy - alpha**0.5 * CLEAN) / (1 - alpha) ** 0.5


def noise(seed=0):
    return seeded_noise(CLEAN.shape, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("timestep", "alpha"),
    [(0, 0.999989986), (100, 0.959434509), (500, 0.364908457), (980, 0.0209734924)],
)
def test_linear_schedule_leaves_the_published_share_of_signal(timestep, alpha):
    assert float(ALPHAS[timestep]) == pytest.approx(alpha, rel=1e-5)


def test_timesteps_are_whole_strides_down_to_zero():
    assert spaced_timesteps(50)[:2] == [980, 960]
    assert spaced_timesteps(10) == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert spaced_timesteps(30)[0] == 29 * 33
    assert len(spaced_timesteps(1000)) == 1000


def test_cosine_schedule_leaves_the_published_share_of_signal():
    alphas = alphas_cumprod(cosine_betas())
    assert float(alphas[499]) == pytest.approx(0.4938, abs=1e-4)
    assert float(alphas[999]) == pytest.approx(2.43e-9, rel=1e-2)


def test_trailing_timesteps_begin_where_training_ended():
    assert trailing_timesteps(50)[:2] == [999, 979]
    assert trailing_timesteps(50)[-1] == 19
    assert trailing_timesteps(100)[-2:] == [19, 9]
    assert trailing_timesteps(1) == [999]
    with pytest.raises(PayloadError, match=r"1 to 1000"):
        trailing_timesteps(0)


@pytest.mark.parametrize("predicts", ["epsilon", "sample"])
def test_given_timesteps_are_visited_and_clean_samples_are_clipped(predicts):
    visited = []

    def denoise(noisy, timestep):
        visited.append(timestep)
        return 9 * CLEAN if predicts == "sample" else knowing_noise(noisy, timestep)

    schedule = Schedule(alphas=ALPHAS, predicts=predicts, clip=0.5)
    found = sample_ddim(denoise, noise(), schedule, steps=[700, 300])
    assert visited == [700, 300]
    assert float(found.abs().max()) <= 0.5 + 1e-6


@pytest.mark.parametrize("steps", [1, 0, -3, 1001])
def test_impossible_numbers_of_steps_are_refused(steps):
    with pytest.raises(PayloadError, match=r"2 to 1000"):
        spaced_timesteps(steps)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [2, 7, 50])
def test_a_perfect_denoiser_ends_at_the_clean_sample(steps, eta):
    schedule = Schedule(alphas=ALPHAS)
    generator = torch.Generator().manual_seed(1)
    found = sample_ddim(knowing_noise, noise(), schedule, steps=steps, eta=eta, generator=generator)
    assert torch.allclose(found, CLEAN, atol=1e-5)


def test_predicting_the_sample_and_the_noise_are_the_same_walk():
    def half_knowing(noisy, timestep):  # not perfect, so that the whole walk matters
        return 0.5 * knowing_noise(noisy, timestep)

    def as_sample(noisy, timestep):
        alpha = float(ALPHAS[timestep])
        return (noisy - (1 - alpha) ** 0.5 * half_knowing(noisy, timestep)) / alpha**0.5

    by_noise = sample_ddim(half_knowing, noise(), Schedule(alphas=ALPHAS), steps=10)
    schedule = Schedule(alphas=ALPHAS, predicts="sample")
    assert torch.allclose(sample_ddim(as_sample, noise(), schedule, steps=10), by_noise, atol=1e-4)


def test_fresh_noise_follows_the_seed_and_eta_needs_a_generator():
    def walk(seed):
        generator = torch.Generator().manual_seed(seed)
        return sample_ddim(
            lambda noisy, _: 0.5 * noisy,
            noise(),
            Schedule(alphas=ALPHAS),
            steps=5,
            eta=1.0,
            generator=generator,
        )

    assert torch.equal(walk(3), walk(3))
    assert not torch.equal(walk(3), walk(4))
    with pytest.raises(PayloadError, match="generator"):
        sample_ddim(knowing_noise, noise(), Schedule(alphas=ALPHAS), steps=5, eta=0.5)


def test_one_step_to_the_clean_end_returns_the_predicted_sample():
    noisy = add_noise(CLEAN, noise(), 0.3)
    assert torch.allclose(ddim_step(noisy, noise(), 0.3, 1.0), CLEAN, atol=1e-6)
    assert torch.allclose(ddim_step(noisy, CLEAN, 0.3, 1.0, predicts="sample"), CLEAN, atol=1e-6)


def test_every_step_is_reported_and_an_interrupt_passes_through():
    seen = []

    def stop_at_three(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    calls = []
    with pytest.raises(KeyboardInterrupt):
        sample_ddim(
            lambda noisy, timestep: calls.append(timestep) or noisy,
            noise(),
            Schedule(alphas=ALPHAS),
            steps=10,
            on_step=stop_at_three,
        )
    assert seen == [(1, 10), (2, 10), (3, 10)]
    assert calls == [900, 800, 700]


def test_a_constraint_is_applied_before_every_step():
    def zero_first_row(sample, alpha):
        return sample * torch.tensor([[0.0], [1.0], [1.0]])

    rows = []
    sample_ddim(
        lambda noisy, _: rows.append(noisy[0].abs().sum().item()) or noisy,
        noise(),
        Schedule(alphas=ALPHAS),
        steps=4,
        constrain=zero_first_row,
    )
    assert rows == [0, 0, 0, 0]


def test_guidance_exaggerates_what_the_condition_changes():
    def with_condition(noisy, timestep):
        return noisy + 1

    def without(noisy, timestep):
        return noisy

    assert guided(with_condition, without, 1) is with_condition
    assert torch.allclose(guided(with_condition, without, 3)(CLEAN, 0), CLEAN + 3)


def test_unknown_predictions_are_refused():
    with pytest.raises(PayloadError, match="velocity"):
        Schedule(alphas=ALPHAS, predicts="velocity")


def test_the_old_step_differs_only_for_networks_that_say_the_clean_sample():
    x, m = torch.randn(3, 4), torch.randn(3, 4)
    for predicts, same in (("epsilon", True), ("sample", False)):
        steps = [step(x, m, 0.3, 0.6, predicts=predicts) for step in (ddim_step, ddim_step_0_11)]
        assert torch.equal(*steps) == same
    assert torch.allclose(steps[1], (0.6**0.5 + 0.4**0.5) * m)


def test_sampling_can_stop_where_the_training_began():
    alphas = alphas_cumprod(scaled_linear_betas(0.00085, 0.012))
    noise, ends = torch.randn(5), []
    for end in (1.0, float(alphas[0])):
        schedule = Schedule(alphas=alphas, predicts="sample", end=end)
        ends.append(sample_ddim(lambda x, t: torch.ones_like(x), noise, schedule, steps=[501, 1]))
    assert torch.equal(ends[0], torch.ones(5))
    assert 1e-4 < (ends[1] - ends[0]).abs().max() < 0.2


def test_a_schedule_can_bring_its_own_step():
    noise = torch.randn(5)
    schedule = Schedule(alphas=ALPHAS, predicts="sample", step=ddim_step_0_11)
    old = sample_ddim(lambda x, t: torch.ones_like(x), noise, schedule, steps=[900, 100])
    assert torch.equal(old, torch.ones(5))
    halved = sample_ddim(lambda x, t: x / 2, noise, schedule, steps=[900, 100])
    before = float(ALPHAS[100])
    assert torch.allclose(halved, noise / 4 * (before**0.5 + (1 - before) ** 0.5), atol=1e-6)
