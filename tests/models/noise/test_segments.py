"""Segments are joined as the published program joins them, its jump included."""

import torch
from soliloquy.models.noise.landmark_guided import published_noise
from soliloquy.models.noise.segments import FPS, assemble, lengthen

from ...golden_recipe import given, golden, recipe


def test_frames_are_assembled_as_in_the_golden_video():
    numbers = golden("atldiff_noise")
    values = assemble((torch.arange(96) / 96).view(3, 32)) * 255
    assert torch.allclose(values, numbers["asm_values"], atol=1e-4)
    assert numbers["asm_fps"] == FPS


def test_pictures_are_assembled_as_in_the_golden_video():
    identity = torch.from_numpy(recipe().image(n=128)[0]).permute(1, 2, 0)
    drift = recipe().inp("no_drift", (64, 2, 1), 0.03) + recipe().inp("no_lm", (64, 2, 68), 0.01)
    landmarks = torch.from_numpy((recipe().face68(1.0).T[None] + drift).clip(0.01, 0.99)).float()
    noised, _ = published_noise(
        (identity * 255).floor() / 255,  # a picture file holds whole numbers
        landmarks[:32].repeat(3, 1, 1),
        given("asm_eps", (96, 128, 128, 3)),
    )
    segments = noised[0].permute(3, 1, 2, 0).unflatten(0, (3, 32)).clamp(0, 1)
    found = assemble(segments)[::3, ::17, ::17] * 255
    assert torch.allclose(found, golden("atldiff_noise")["asm_img_sub"], atol=1e-3)


def test_thirty_frames_become_thirty_two_by_repeating_the_last_two():
    assert lengthen(torch.arange(30))[-4:].tolist() == [28, 29, 28, 29]


def test_segments_are_not_changed_in_place():
    segments = torch.rand(2, 32)
    copy = segments.clone()
    assemble(segments)
    assert torch.equal(segments, copy)
