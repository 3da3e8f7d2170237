"""Guided noise: the published arithmetic exactly, and what any motion, size and length need."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.noise.landmark_guided import (
    R_MIN,
    Guide,
    NoiseOptions,
    PublishedGuide,
    frame_noise,
    guided_noise,
    identity_picture,
    published_marks,
    published_noise,
    square_affine,
)
from soliloquy.models.payloads import PayloadError
from soliloquy.models.portrait.affine import square_crop

from ...golden_recipe import given, golden, recipe
from ..motion.examples import motion_of
from ..motion.test_posed import still
from ..render.drawn_face import drawn_face


def face(size=400):
    drawn = drawn_face(size, size, interocular=100.0)
    return replace(drawn, crop=square_crop(drawn.landmarks, scale=1.6), crop_size=512)


@pytest.fixture(scope="module")
def published():
    identity = torch.from_numpy(recipe().image(n=128)[0]).permute(1, 2, 0)
    drift = recipe().inp("no_drift", (64, 2, 1), 0.03) + recipe().inp("no_lm", (64, 2, 68), 0.01)
    landmarks = torch.from_numpy((recipe().face68(1.0).T[None] + drift).clip(0.01, 0.99)).float()
    return identity, landmarks, given("no_eps", (64, 128, 128, 3))


class TestReference:
    @pytest.mark.parametrize("kernel", [25, 11])
    def test_noise_and_factor_are_the_golden_ones(self, published, kernel):
        numbers = golden("atldiff_noise")
        noised, factor = published_noise(*published, kernel=kernel)
        assert noised.shape == (1, 3, 128, 128, 64)
        found = noised[0, :, ::9, ::9, ::9]
        assert torch.allclose(found, numbers[f"noise{kernel}_sub"], atol=2e-6)
        assert torch.allclose(factor[::5, ::5, ::13], numbers[f"mask{kernel}_sub"], atol=2e-6)
        mean, deviation, low, high = numbers[f"mask{kernel}_stat"]
        found = torch.stack([factor.mean(), factor.std(), factor.min(), factor.max()])
        assert torch.allclose(found, torch.stack([mean, deviation, low, high]), atol=1e-5)

    def test_landmarks_fall_on_the_golden_pixels(self, published):
        pixels = golden("atldiff_noise")["lm_px_0_63"]
        for frame, wanted in zip((0, 63), pixels, strict=True):
            guide = published_marks(published[1][frame : frame + 1], 128, 1)[0]
            marks = torch.zeros(128, 128)
            marks[wanted[1].long(), wanted[0].long()] = 1
            assert torch.equal(guide, marks)

    def test_landmarks_outside_the_picture_are_refused(self, published):
        identity, landmarks, noise = published
        with pytest.raises(PayloadError, match=r"inside a picture of 128 pixels.*default mode"):
            published_noise(identity, landmarks + 0.5, noise)

    def test_from_a_portrait_the_whole_picture_is_squeezed_into_the_square(self):
        drawn = drawn_face(300, 300, interocular=70.0)
        options = NoiseOptions(mode="reference", r_min=0.0)
        found = guided_noise(drawn, still(2), options)
        assert found.frames.shape == (2, 3, 128, 128)
        quiet = found.mask[0, 0] == 0
        small = drawn.image.unfold(0, 2, 2).unfold(1, 2, 2).float().mean((0, 1, 3, 4)) / 255
        assert torch.allclose(found.frames[0][:, quiet].mean(1), small, atol=0.1)
        assert found.mask.max() == 1

    def test_a_long_clip_is_guided_as_at_once_though_only_some_frames_are_held(self, published):
        landmarks = torch.cat([published[1], published[1].flip(0)])  # more than are marked at once
        drawn = drawn_face(300, 300, interocular=70.0)
        points = torch.nn.functional.pad(300 * landmarks.mT, (0, 1))
        guide = PublishedGuide.of(drawn, points, NoiseOptions(mode="reference"))
        _, factor = published_noise(published[0], landmarks, torch.zeros(128, 128, 128, 3))
        found = guide.frames(range(60, 100)).permute(1, 2, 0) + R_MIN
        assert torch.allclose(found, factor[..., 60:100], atol=1e-5)

    def test_noise_says_which_part_of_the_picture_it_shows(self):
        drawn = drawn_face(300, 300, interocular=70.0)
        modes = ("default", "reference")
        found = [guided_noise(drawn, still(1), NoiseOptions(mode=mode)) for mode in modes]
        assert [noise.whole_picture for noise in found] == [False, True]

    def test_only_the_published_size_is_possible(self):
        with pytest.raises(PayloadError, match="a square of 128 pixels, not 256"):
            NoiseOptions(mode="reference", size=256)


class TestDefault:
    def test_noise_lies_where_the_landmarks_are(self):
        found = guided_noise(face(), motion_of(4), NoiseOptions(r_min=0.0))
        assert found.frames.shape == (4, 3, 128, 128)
        assert found.mask.shape == (4, 1, 128, 128)
        change = (found.frames - identity_picture(face(), 128)).abs().mean((0, 1))
        assert change[:8].max() < 0.001
        affine = square_affine(face(), 128)
        x, y = (affine[:2, :2] @ face().landmarks[66, :2].double() + affine[:2, 2]).long()
        assert change[y - 3 : y + 4, x - 3 : x + 4].mean() > 0.2

    def test_a_guide_is_the_same_share_of_a_square_of_any_size(self):
        small, large = (
            guided_noise(face(), motion_of(2), NoiseOptions(size=size)).mask for size in (128, 256)
        )
        shrunk = torch.nn.functional.avg_pool2d(large, 2)
        assert (shrunk - small).abs().max() < 0.06

    def test_parts_are_the_same_as_in_the_whole(self):
        motion = motion_of(100)
        whole = guided_noise(face(), motion, NoiseOptions(size=32))
        part = guided_noise(face(), motion, NoiseOptions(size=32), start=70, stop=90)
        assert torch.equal(whole.frames[70:90], part.frames)
        assert torch.equal(whole.mask[70:90], part.mask)

    def test_the_guide_follows_the_head(self):
        turned = still(3, translation=torch.tensor([[0.3, 0.0, 0.0]] * 3))
        rest, moved = (
            guided_noise(face(), motion, NoiseOptions()).mask[0, 0] for motion in (still(), turned)
        )
        columns = torch.arange(128.0)
        shift = ((moved - rest).sum(0) @ columns) / rest.sum()
        affine = square_affine(face(), 128)
        assert shift == pytest.approx(float(30 * affine[0, 0]), rel=0.1)

    def test_at_rest_the_highest_guide_is_one_and_a_frame_can_have_its_own(self):
        assert guided_noise(face(), still()).mask.amax((1, 2, 3)).tolist() == [1, 1, 1]
        opened = motion_of(2, jawOpen=1.0)
        own = guided_noise(face(), opened, NoiseOptions(normalisation="frame")).mask
        clip = guided_noise(face(), opened, NoiseOptions(normalisation="clip")).mask
        assert own.amax((1, 2, 3)).tolist() == [1, 1]
        assert clip.max() == 1
        assert guided_noise(face(), opened).mask.max() <= 1

    def test_a_face_that_has_left_the_square_leaves_no_guide(self):
        gone = still(2, translation=torch.full((2, 3), 50.0))
        for normalisation in ("rest", "frame", "clip"):
            options = NoiseOptions(size=32, normalisation=normalisation)
            assert not guided_noise(face(), gone, options).mask.any()

    def test_progress_is_told_and_may_interrupt(self):
        told = []
        guided_noise(
            face(), motion_of(70), NoiseOptions(size=32), on_frame=lambda *n: told.append(n)
        )
        assert told == [(64, 70), (70, 70)]

        def interrupt(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            guided_noise(face(), still(), NoiseOptions(size=32), on_frame=interrupt)

    def test_an_empty_range_is_refused(self):
        with pytest.raises(PayloadError, match="No frames lie between 5 and 5"):
            guided_noise(face(), motion_of(9), start=5, stop=5)


class TestNoise:
    def test_a_seed_gives_the_same_noise_and_another_one_another(self):
        first, again, other = (
            frame_noise(range(2), NoiseOptions(size=32, seed=s)) for s in (1, 1, 2)
        )
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first[0], first[1])

    def test_both_distributions_are_what_they_are_called(self):
        normal = frame_noise(range(4), NoiseOptions(size=64))
        assert abs(normal.mean()) < 0.02
        assert normal.std() == pytest.approx(1, abs=0.02)
        uniform = frame_noise(range(4), NoiseOptions(size=64, distribution="uniform"))
        assert uniform.min() >= 0
        assert uniform.max() < 1
        assert uniform.mean() == pytest.approx(0.5, abs=0.01)

    def test_r_min_noises_what_no_landmark_is_near(self):
        found = guided_noise(face(), still(1), NoiseOptions(r_min=0.5))
        corner = (found.frames[0] - identity_picture(face(), 128))[:, :16, :16]
        assert corner.std() == pytest.approx(0.5, abs=0.05)


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"mode": "fast"}, "the modes default, reference, not 'fast'"),
            ({"distribution": "pink"}, "distributions normal, uniform, not pink"),
            ({"normalisation": "none"}, "normalisations rest, frame, clip, not none"),
            ({"size": 8}, "A square of 8 pixels"),
            ({"kernel": 128}, "a kernel of 1 to 127 pixels"),
            ({"r_min": -0.1}, "r_min of at least 0"),
        ],
    )
    def test_impossible_ones_are_refused_with_the_possible_ones(self, options, message):
        with pytest.raises(PayloadError, match=message):
            NoiseOptions(**options)

    def test_kernels_grow_with_the_square_and_stay_odd(self):
        assert NoiseOptions().blur == (25, pytest.approx(4.1))
        assert NoiseOptions(size=256).blur == (49, pytest.approx(8.2))
        assert NoiseOptions(size=256, sigma=3.0).blur == (49, 6.0)
        assert NoiseOptions(kernel=1, size=32).blur[0] == 1

    def test_the_widest_kernel_fits_the_smallest_square(self):
        guide = Guide.of(face(), face().landmarks[None], NoiseOptions(kernel=127, size=32))
        assert guide.frames(range(1)).max() == 1
