"""Segments are joined as the published program joins them, its jump included."""

from fractions import Fraction

import pytest
import torch
from soliloquy.models.motion.posed import posed_landmarks
from soliloquy.models.noise.landmark_guided import (
    NoiseOptions,
    frame_noise,
    published_noise,
    squeezed_picture,
)
from soliloquy.models.noise.segments import (
    FPS,
    assemble,
    assembled,
    lengthen,
    segment_noise,
    segments_of,
)
from soliloquy.models.payloads import GuidedNoise, Motion, Timeline

from ...golden_recipe import given, golden, recipe
from ..render.drawn_face import drawn_face


def moving(frames, fps):
    """The head drifts by a fifth of the distance between the eyes, the face is still."""
    drift = torch.linspace(0, 0.2, frames)[:, None] * torch.tensor([1.0, 0.5, 0.0])
    return Motion(
        space="landmarks68",
        values=torch.zeros(frames, 68, 3),
        rotation=torch.zeros(frames, 3),
        translation=drift,
        scale=torch.ones(frames),
        timeline=Timeline.for_frames(frames, fps),
    )


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


class TestOnTheTimeline:
    def test_at_24_frames_a_second_it_is_the_published_video(self):
        segments = torch.rand(3, 32, 1)
        parts = list(assembled(iter(segments), Timeline.for_sound(48000, 16000, 24)))
        assert torch.equal(torch.cat(parts), assemble(segments))

    @pytest.mark.parametrize("fps", ["25", "30", "30000/1001", "60"])
    def test_at_any_rate_each_frame_shows_the_one_whose_turn_it_is(self, fps):
        timeline = Timeline.for_sound(40000, 16000, fps)
        segments = (torch.arange(96.0) / 96).view(3, 32)
        found = torch.cat(list(assembled(iter(segments), timeline)))
        assert len(found) == timeline.num_frames
        turn = (timeline.frame_centres() * FPS).long()
        assert torch.equal(found, assemble(segments)[turn])

    def test_only_two_segments_are_held(self):
        drawn = []

        def segments():
            for number in range(5):
                drawn.append(number)
                yield torch.full((32,), float(number))

        parts = assembled(segments(), Timeline.for_sound(80000, 16000, 24))
        next(parts)
        assert drawn == [0, 1]

    def test_a_frame_that_begins_in_time_and_ends_late_shows_the_last_one(self):
        timeline = Timeline.for_sound(16000, 8000, Fraction("29.6"))  # 60 frames in 2 s
        found = torch.cat(list(assembled(iter(torch.rand(2, 32)), timeline)))
        assert len(found) == timeline.num_frames == 60


class TestNoise:
    portrait = drawn_face(300, 300, interocular=70.0)

    def test_at_30_frames_a_second_it_is_what_the_published_program_draws(self):
        motion = moving(60, 30)
        options = NoiseOptions(mode="reference", seed=5)
        found = torch.stack(list(segment_noise(self.portrait, motion, options)))
        assert found.shape == (2, 32, 3, 128, 128)
        posed = posed_landmarks(motion, self.portrait)[..., :2].mT / 300
        longer = torch.cat([lengthen(second) for second in posed.split(30)])
        noise = torch.stack([*frame_noise(range(64), options)]).permute(0, 2, 3, 1)
        identity = squeezed_picture(self.portrait, 128).permute(1, 2, 0)
        wanted, _ = published_noise(identity, longer, noise)
        assert torch.allclose(found.flatten(0, 1), wanted[0].permute(3, 0, 1, 2), atol=1e-5)

    def test_another_rate_and_a_part_of_a_second_are_filled_up(self):
        options = NoiseOptions(mode="reference")
        found = torch.cat(list(segment_noise(self.portrait, moving(36, 25), options)))
        assert len(found) == 64
        noise = frame_noise(range(64), options)
        strength = (found - squeezed_picture(self.portrait, 128)) / noise
        strength = torch.where(noise.abs() > 0.1, strength, 0)
        kept = (noise[[50, 60]].abs() > 0.1).all(0)  # the sound has ended by then
        assert torch.allclose(strength[50][kept], strength[60][kept], atol=1e-4)
        assert not torch.allclose(strength[0][kept], strength[60][kept], atol=0.1)

    def test_given_noise_is_taken_frame_by_frame(self):
        frames = torch.arange(60.0).view(60, 1, 1, 1).expand(60, 3, 8, 8).clone()
        noise = GuidedNoise(frames=frames, mask=frames[:, :1], portrait=self.portrait)
        at_30 = list(segments_of(noise, Timeline.for_frames(60, 30)))
        assert at_30[1][:, 0, 0, 0].tolist() == [*range(30, 60), 58, 59]
        at_60 = list(segments_of(noise, Timeline.for_frames(60, 60)))
        assert at_60[0][:3, 0, 0, 0].tolist() == [1, 3, 5]
        assert len(at_60) == 1
