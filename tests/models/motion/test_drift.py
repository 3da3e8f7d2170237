import torch
from soliloquy.models.motion.drift import draws, drift, smooth_step


def test_a_longer_series_begins_like_a_shorter_one():
    assert torch.equal(draws(7, "blinks", 500)[:10], draws(7, "blinks", 10))


def test_seeds_and_names_have_series_of_their_own():
    series = [draws(0, "a", 50), draws(1, "a", 50), draws(0, "b", 50), draws(-5, "a", 50)]
    for index, first in enumerate(series):
        for second in series[index + 1 :]:
            assert not torch.allclose(first, second)


def test_drift_is_smooth_centred_and_of_unit_size():
    times = torch.arange(0, 2000, 0.01, dtype=torch.float64)
    curve = drift(times, 3, "x", 1.0)
    assert abs(float(curve.mean())) < 0.1
    assert 0.85 < float(curve.std()) < 1.15
    assert float(curve.diff().abs().max()) < 0.05  # per hundredth of a second


def test_drift_is_one_function_at_any_frame_rate():
    coarse = torch.arange(100, dtype=torch.float64) / 5
    fine = torch.arange(1000, dtype=torch.float64) / 50
    torch.testing.assert_close(drift(coarse, 1, "x", 0.7), drift(fine, 1, "x", 0.7)[::10])


def test_smooth_step_goes_from_zero_to_one():
    steps = smooth_step(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]))
    torch.testing.assert_close(steps, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
