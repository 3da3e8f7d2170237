"""Keyframes of a given motion."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.keyframes.establish import (
    SMOOTHING,
    coefficients,
    deviation,
    establish,
    keep_apart,
    peaks,
    smooth,
    speed,
)
from soliloquy.models.payloads import Motion, Timeline


def motion(values: torch.Tensor, rotation: torch.Tensor, fps: float = 25) -> Motion:
    frames = len(values)
    return Motion(
        space="arkit52",
        values=torch.nn.functional.pad(values[:, None], (24, 27)),  # jawOpen
        rotation=torch.nn.functional.pad(rotation[:, None], (1, 1)),
        translation=torch.zeros(frames, 3),
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, fps),
    )


def step_at(seconds: float, fps: float, length: float = 3.0) -> torch.Tensor:
    times = (torch.arange(int(length * fps)) + 0.5) / fps
    return torch.sigmoid((times - seconds) * 20)


@pytest.mark.parametrize("fps", [12, 25, 60])
def test_the_fastest_moment_is_the_keyframe_at_any_frame_rate(fps):
    found = establish(motion(step_at(1.0, fps), 10 * step_at(2.0, fps), fps))
    for path, moment in {"expression": 1.0, "pose": 2.0}.items():
        (place,) = found.marks[path].nonzero()[:, 0].tolist()
        assert abs((place + 0.5) / fps - moment) < 0.75 / fps + 0.02
        assert float(found.strength[path][place]) == pytest.approx(1)


def test_a_face_at_rest_has_no_keyframes():
    found = establish(motion(torch.full((50,), 0.3), torch.zeros(50)))
    assert not any(marks.any() for marks in found.marks.values())


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_motions_have_an_answer(frames):
    found = establish(motion(torch.rand(frames), torch.rand(frames)))
    assert found.marks["pose"].shape == (frames,)


def test_white_motion_has_as_many_peaks_as_theory_says():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40000, 8, generator=generator).cumsum(0)
    for path, rate in {"expression": 2.5, "pose": 1.3}.items():  # Rice's formula, above the mean
        curve = speed(values, deviation(values), SMOOTHING[path] * 25)
        marks, _ = peaks(curve, 3)
        assert float(marks.float().mean() * 25) == pytest.approx(rate, rel=0.1)


def test_every_coefficient_counts_by_how_much_it_usually_changes():
    values = torch.stack([torch.arange(20) * 5.0, torch.arange(20) * 0.1], dim=1)
    torch.testing.assert_close(
        speed(values, torch.tensor([5.0, 0.1]), 1.5), torch.full((20,), 2**0.5)
    )
    usual = deviation(values * torch.tensor([1.0, 0.01]))
    torch.testing.assert_close(usual, torch.tensor([5.0, 0.5]))  # stillness is not made to count


def test_the_stronger_of_two_close_peaks_stays():
    marks = torch.zeros(20, dtype=torch.bool)
    marks[[2, 4, 6, 12, 15]] = True
    height = torch.zeros(20)
    height[[2, 4, 6, 12, 15]] = torch.tensor([3.0, 2.0, 1.0, 1.0, 2.0])
    assert keep_apart(marks, height, 3).nonzero()[:, 0].tolist() == [2, 6, 12, 15]
    assert keep_apart(marks, height, 4).nonzero()[:, 0].tolist() == [2, 6, 15]


def test_strength_follows_the_height_of_a_peak():
    curve = torch.zeros(40)
    curve[[10, 30]] = torch.tensor([1.0, 3.0])
    marks, strength = peaks(smooth(curve, 1.5), 3)
    assert marks.nonzero()[:, 0].tolist() == [10, 30]
    torch.testing.assert_close(strength[[10, 30]], torch.tensor([0.5, 1.5]))


def test_the_pose_path_knows_rotation_translation_and_size():
    example = motion(torch.rand(9), torch.rand(9))
    assert coefficients(example, "pose").shape == (9, 7)
    assert coefficients(example, "expression").shape == (9, 42)


def test_a_blink_is_no_keyframe():
    example = motion(step_at(1.0, 25), torch.zeros(75))
    values = example.values.clone()
    values[50:53, 8:10] = 1.0
    blinking = establish(replace(example, values=values))
    assert torch.equal(blinking.marks["expression"], establish(example).marks["expression"])
