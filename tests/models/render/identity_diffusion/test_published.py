"""The published renderer draws as published in the reference mode, and without seams by default."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models import checkpoints, formats
from soliloquy.models.noise.landmark_guided import (
    NoiseOptions,
    guided_noise,
    identity_picture,
    squeezed_picture,
)
from soliloquy.models.noise.segments import assemble, segment_noise
from soliloquy.models.payloads import PayloadError, Timeline
from soliloquy.models.render.identity_diffusion.folder import load_folder
from soliloquy.models.render.identity_diffusion.published import (
    PublishedRenderer,
    PublishedSettings,
    load,
)

from ...plain_resnet import plain_resnet
from .small import face, talking
from .test_folder import write
from .unet3d_weights import SMALL

CONFIG = {
    **SMALL,
    "cross_attention_dim": 8,
    "down_block_types": ["DownBlock3D"] * 2,  # so that only the middle attends, which is quick
    "up_block_types": ["UpBlock3D"] * 2,
}
PORTRAIT = face()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A models directory with all that is needed."""
    models = tmp_path_factory.mktemp("models")
    scheduler = {"prediction_type": "sample", "clip_sample": False}
    write(models / "atldiff", CONFIG, scheduler)
    torch.save(plain_resnet(classes=3).state_dict(), models / "atldiff" / "resnet50-0676ba61.pth")
    return models


@pytest.fixture(scope="module")
def renderer(files):
    row = formats.find_system("render", "atl_diff_published")
    return row.load(**row.find_weights([files]))


def noised(motion, portrait=PORTRAIT, size=32, **options):
    return guided_noise(portrait, motion, NoiseOptions(size=size, **options))


def rendered(renderer, motion, given=None, batch=8, portrait=PORTRAIT, **settings):
    adjusted = renderer.performing(PublishedSettings(**{"steps": 1, **settings}))
    given = noised(motion) if given is None else given
    return torch.cat(list(adjusted.render(portrait, motion, batch=batch, guided_noise=given)))


def at(fps, motion):
    return replace(motion, timeline=Timeline.for_frames(motion.timeline.num_frames, fps))


def test_features_are_read_as_tokens_of_the_context(renderer):
    plain = plain_resnet(classes=3)
    for whole, show in ((False, identity_picture), (True, squeezed_picture)):
        wanted = plain(show(PORTRAIT, 32)[None]).view(1, 16, 8)
        found = renderer.recognised(PORTRAIT, 32, whole=whole)
        assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


class TestReference:
    def test_it_is_the_published_video_in_the_size_of_the_picture(self, renderer):
        motion = at(30, talking(PORTRAIT, 31))
        adjusted = renderer.performing(PublishedSettings(mode="reference", seed=3))
        adjusted.published = Recorder([], shown=lambda start: 0.5 * start)
        found = torch.cat(list(adjusted.render(PORTRAIT, motion)))
        assert found.shape == (31, *PORTRAIT.size, 3)
        options = NoiseOptions(mode="reference", seed=3)
        drawn = [0.5 * start for start in segment_noise(PORTRAIT, motion, options)]
        video = assemble(torch.stack(drawn).clamp(0, 1))
        video = video[(motion.timeline.frame_centres() * 24).long()]
        enlarged = torch.nn.functional.interpolate(
            video, PORTRAIT.size, mode="bicubic", antialias=True
        ).clamp(0, 1)
        difference = found.permute(0, 3, 1, 2) / 255 - enlarged
        assert difference.abs().max() < 0.004

    def test_given_noise_says_which_part_of_the_picture_is_drawn(self, renderer):
        motion = at(30, talking(PORTRAIT, 4))
        crop = rendered(renderer, motion, mode="reference")
        assert torch.equal(crop[:, 0, 0], PORTRAIT.image[0, 0].expand(4, 3))
        whole = replace(noised(motion), whole_picture=True)
        pictures = rendered(renderer, motion, whole)
        assert not torch.equal(pictures[:, 0, 0], crop[:, 0, 0])


class TestDefault:
    def test_the_clip_lies_on_its_side_as_published(self, renderer):
        """Rows are the U-Net's frames, time is its width."""
        motion, starts = talking(PORTRAIT, 2), []
        adjusted = renderer.performing(PublishedSettings(steps=1))
        adjusted.published = Recorder(starts, shown=lambda start: start.clamp(0, 1))
        noise = noised(motion, size=64)
        list(adjusted.render(PORTRAIT, motion, guided_noise=noise))
        assert starts[0].shape == (1, 3, 64, 64, 32)
        assert torch.equal(starts[0][0, :, 5, 7, 1], noise.frames[1, :, 5, 7])

    def test_every_frame_of_any_timeline_is_drawn_inside_the_square(self, renderer):
        motion = talking(PORTRAIT, 34)
        found = rendered(renderer, motion)
        assert found.shape == (34, *PORTRAIT.size, 3)
        assert torch.equal(found[:, 0, 0], PORTRAIT.image[0, 0].expand(34, 3))
        assert (found[0].float() - PORTRAIT.image.float()).abs().max() > 20

    def test_a_window_starts_from_32_frames_and_the_last_one_is_repeated(self, renderer):
        motion, starts = talking(PORTRAIT, 34), []
        adjusted = renderer.performing(PublishedSettings(steps=1))
        adjusted.published = Recorder(starts)
        list(adjusted.render(PORTRAIT, motion, guided_noise=noised(motion)))
        assert [start.shape for start in starts] == [(1, 3, 32, 32, 32)] * 2
        assert torch.equal(starts[0][..., 30:], starts[1][..., :2])
        assert torch.equal(starts[1][..., 3:4].expand(-1, -1, -1, -1, 29), starts[1][..., 3:])
        wanted = noised(motion).frames.permute(1, 2, 3, 0)[None]
        assert torch.equal(starts[0], wanted[..., :32])

    def test_shared_frames_fade_from_one_window_to_the_next(self, renderer):
        motion = talking(PORTRAIT, 40)
        adjusted = renderer.performing(PublishedSettings(steps=1))
        adjusted.published = Recorder([], levels=(0.0, 0.6))
        frames = list(adjusted.render(PORTRAIT, motion, guided_noise=noised(motion)))
        centre = torch.cat(frames)[:, 80, 72, 0].tolist()
        assert centre[29:33] == [0, 51, 102, 153]

    def test_batches_change_nothing_and_the_seed_does(self, renderer):
        motion = talking(PORTRAIT, 3)
        found = rendered(renderer, motion)
        assert torch.equal(rendered(renderer, motion, batch=2), found)
        other = noised(motion, seed=1)
        assert not torch.equal(rendered(renderer, motion, other), found)

    def test_own_noise_is_that_of_the_noise_stage(self, renderer):
        motion, starts = talking(PORTRAIT, 3), []
        adjusted = renderer.performing(PublishedSettings(steps=1, seed=7))
        adjusted.published = Recorder(starts)
        list(adjusted.render(PORTRAIT, motion))
        wanted = noised(motion, size=128, seed=7).frames.permute(1, 2, 3, 0)
        assert torch.equal(starts[0][0, ..., :3], wanted)

    def test_long_clips_are_drawn_window_by_window(self, renderer):
        motion, starts = talking(PORTRAIT, 500), []
        adjusted = renderer.performing(PublishedSettings(steps=1))
        adjusted.published = Recorder(starts)
        frames = adjusted.render(PORTRAIT, motion, guided_noise=noised(motion))
        next(frames)
        assert len(starts) == 1


class Recorder:
    """Draws greys, one per window, or what is said, and keeps what it was given."""

    def __init__(self, starts, levels=(0.5,), shown=None):
        self.starts, self.levels, self.shown = starts, levels, shown

    def sample(self, noise, context, *, steps, on_step):
        self.starts.append(noise)
        if self.shown:
            return self.shown(noise)
        return torch.full_like(noise, self.levels[min(len(self.starts), len(self.levels)) - 1])


def test_progress_is_told_after_every_step_and_may_interrupt(renderer):
    motion, told = talking(PORTRAIT, 2), []
    adjusted = renderer.performing(PublishedSettings(steps=2))

    def tell(*step):
        told.append(step)

    list(adjusted.render(PORTRAIT, motion, guided_noise=noised(motion), on_frame=tell))
    assert told == [(0, 2), (0, 2), (1, 2), (2, 2)]

    def interrupt(*_):
        raise KeyboardInterrupt

    frames = adjusted.render(PORTRAIT, motion, guided_noise=noised(motion), on_frame=interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(frames)


class TestRefused:
    def test_motion_noise_batches_and_modes(self, renderer):
        motion = talking(PORTRAIT, 3)
        with pytest.raises(PayloadError, match="at least 1"):
            renderer.render(PORTRAIT, motion, batch=0)
        arkit = replace(motion, space="arkit52", values=torch.zeros(3, 52))
        with pytest.raises(PayloadError, match="moves by landmarks68"):
            renderer.render(PORTRAIT, arkit)
        with pytest.raises(PayloadError, match="4 frames and the motion 3"):
            renderer.render(PORTRAIT, motion, guided_noise=noised(talking(PORTRAIT, 4)))
        with pytest.raises(PayloadError, match="default or reference, not 'fast'"):
            PublishedSettings(mode="fast")

    def test_a_folder_that_is_not_there_is_missed_with_its_files_and_links(self, tmp_path):
        row = formats.find_system("render", "atl_diff_published")
        with pytest.raises(PayloadError) as missed:
            row.find_weights([tmp_path])
        for part in ("atldiff/unet'", "config.json", "atldiff/scheduler'", "resnet50-0676ba61.pth"):
            assert part in str(missed.value)
        with pytest.raises(PayloadError, match="give the paths"):
            load()

    def test_a_folder_without_its_configuration_names_it(self, files, tmp_path):
        unet = tmp_path / "atldiff" / "unet" / "diffusion_pytorch_model.safetensors"
        unet.parent.mkdir(parents=True)
        unet.write_bytes((files / "atldiff" / "unet" / unet.name).read_bytes())
        resnet = files / "atldiff" / "resnet50-0676ba61.pth"
        with pytest.raises(PayloadError, match=r"no 'unet/config.json'"):
            load(unet=unet, resnet=resnet)

    def test_a_network_that_gives_no_numbers(self, renderer):
        motion = talking(PORTRAIT, 3)
        adjusted = renderer.performing(PublishedSettings())
        adjusted.published = Recorder([], levels=(float("nan"),))
        with pytest.raises(PayloadError, match="returned NaN"):
            next(adjusted.render(PORTRAIT, motion, guided_noise=noised(motion)))

    def test_a_u_net_with_another_context(self, tmp_path):
        published = load_folder(write(tmp_path / "folder", {**SMALL, "cross_attention_dim": 10}))
        resnet = checkpoints.load("resnet50", plain_resnet(classes=3).state_dict())
        with pytest.raises(PayloadError, match="10 channels, into which the 128 features"):
            PublishedRenderer(published, resnet)
