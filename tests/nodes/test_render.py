from dataclasses import replace

import pytest
import torch
from soliloquy.models.payloads import GuidedNoise, PayloadError, Portrait
from soliloquy.models.portrait.affine import square_crop
from soliloquy.models.portrait.mapping import mean_landmarks

from .loaded import host, host_double
from .loaded import render as nodes
from .test_motion import talking


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


def portrait(height=96, width=120):
    """A picture of noise with a face in it."""
    landmarks = (mean_landmarks() * 24 + torch.tensor([width / 2, 40, 0.0])).float()
    generator = torch.Generator().manual_seed(1)
    return Portrait(
        image=torch.randint(0, 256, (height, width, 3), generator=generator).byte(),
        landmarks=landmarks,
        box=(40.0, 20.0, 80.0, 70.0),
        crop=square_crop(landmarks),
        crop_size=512,
        rotation=(0.0, 0.0, 0.0),
    )


class Renderer:
    """Fades the picture in, frame by frame."""

    space = "arkit52"

    def render(self, portrait, motion, *, batch=8, on_frame=None):
        total = motion.timeline.num_frames
        for start in range(0, total, batch):
            frames = []
            for index in range(start, min(start + batch, total)):
                frames.append((portrait.image.float() * index / total).byte())
                on_frame(index + 1, total)
            yield torch.stack(frames)


RENDERER = host.Managed(Renderer())


def test_frames_become_an_image_with_its_rate(state):
    image, fps = nodes.RenderPortrait.execute(
        RENDERER, portrait(), talking(30, 30), "picture", 8
    ).result
    assert image.shape == (30, 96, 120, 3)
    assert fps == 30.0
    assert image[0].max() == 0
    assert any(shown for *_, shown in state.reports), "no preview was sent"


def test_the_batch_does_not_change_the_frames():
    one, seven = (
        nodes.RenderPortrait.execute(RENDERER, portrait(), talking(), "picture", batch).result[0]
        for batch in (1, 7)
    )
    assert torch.equal(one, seven)


def test_crops_pasted_back_give_the_picture_again():
    """The square is larger than the face here, so only its interpolation is between the two."""
    still = portrait()
    smooth = torch.nn.functional.avg_pool2d(still.image.movedim(-1, 0).float(), 9, 1, 4)
    still = replace(still, image=smooth.movedim(0, -1).byte())
    whole = nodes.RenderPortrait.execute(RENDERER, still, talking(10), "picture", 8).result[0]
    crops = nodes.RenderPortrait.execute(RENDERER, still, talking(10), "crop", 8).result[0]
    assert crops.shape == (10, 512, 512, 3)
    before = crops.clone()
    pasted = nodes.PasteBack.execute(still, crops, 0.1).result[0]
    assert pasted.shape == whole.shape
    assert torch.equal(crops, before)
    centre = (slice(None), slice(35, 60), slice(50, 70))
    assert (pasted[centre] - whole[centre]).abs().mean() < 0.02


def test_a_video_has_the_frames_of_the_motion_and_the_sound(tmp_path):
    import av

    audio = {"waveform": torch.rand(1, 2, 48000) * 0.2 - 0.1, "sample_rate": 48000}
    video = nodes.RenderVideo.execute(RENDERER, portrait(95, 121), talking(25), 8, audio)
    path = video.result[0].get_stream_source()
    assert path.startswith(str(tmp_path / "temp"))
    with av.open(path) as file:
        frames = sum(1 for _ in file.decode(video=0))
        assert (file.streams.video[0].width, file.streams.video[0].height) == (122, 96)
        assert file.streams.audio[0].rate == 48000
    assert frames == 25


def test_sound_and_motion_of_different_length_are_refused():
    audio = {"waveform": torch.zeros(1, 1, 48000), "sample_rate": 48000}
    with pytest.raises(PayloadError, match="lasts 25 frames and the motion 30"):
        nodes.RenderVideo.execute(RENDERER, portrait(), talking(30), 8, audio)


def test_interrupting_stops_within_a_batch_and_leaves_no_file(tmp_path, state):
    state.interrupt_after = 3
    with pytest.raises(host_double.InterruptProcessingException):
        nodes.RenderVideo.execute(RENDERER, portrait(), talking(200), 64)
    assert len(state.reports) == 3
    assert list((tmp_path / "temp").iterdir()) == []


def test_a_conversion_that_loses_something_is_said(state):
    motion = talking()
    landmarks = replace(motion, space="landmarks68", values=torch.zeros(30, 68, 3))
    output = nodes.RenderPortrait.execute(RENDERER, portrait(), landmarks, "picture", 8)
    assert "lossy" in output.ui.value
    assert state.said == [output.ui.value]


def test_the_warp_renderer_repeats_itself_and_leaves_portrait_and_motion_alone():
    warp = nodes.LoadRenderer.execute("warp").result[0]
    face, motion = portrait(), talking(3)
    before = face.image.clone(), motion.values.clone()
    with torch.inference_mode():
        takes = [
            nodes.RenderPortrait.execute(warp, face, motion, "picture", 8).result[0]
            for _ in range(2)
        ]
    assert torch.equal(*takes)
    assert torch.equal(face.image, before[0])
    assert torch.equal(motion.values, before[1])


class FromNoise(Renderer):
    """Shows the guided noise itself."""

    starts_from_noise = True

    def render(self, portrait, motion, *, batch=8, on_frame=None, guided_noise=None):
        for frame in guided_noise.frames:
            yield frame.movedim(0, -1)[None].mul(255).byte()


def guided(still, motion):
    count, size = motion.timeline.num_frames, (4, 4)
    frames = torch.linspace(0.25, 0.75, count).view(-1, 1, 1, 1).expand(count, 3, *size)
    return GuidedNoise(frames=frames.clone(), mask=torch.ones(count, 1, *size), portrait=still)


def test_guided_noise_reaches_renderers_that_start_from_it():
    still, motion = portrait(), talking(3)
    noise, renderer = guided(still, motion), host.Managed(FromNoise())
    image, _ = nodes.RenderPortrait.execute(renderer, still, motion, "picture", 8, noise).result
    assert torch.allclose(image[:, 0, 0, 0], torch.tensor([0.25, 0.5, 0.75]), atol=0.01)


def test_other_renderers_refuse_guided_noise():
    still, motion = portrait(), talking(3)
    noise = guided(still, motion)
    with pytest.raises(PayloadError, match="cannot start from guided noise.*atl_diff"):
        nodes.RenderPortrait.execute(RENDERER, still, motion, "picture", 8, noise)
    with pytest.raises(PayloadError, match="cannot start from guided noise"):
        nodes.RenderVideo.execute(RENDERER, still, motion, 8, None, noise)
