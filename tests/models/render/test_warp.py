import dataclasses
import itertools

import pytest
import torch
from soliloquy.models.payloads import Motion, PayloadError, Timeline
from soliloquy.models.portrait.crop import prepare_portrait, read_image
from soliloquy.models.render.field import determinant, jacobian
from soliloquy.models.render.head import HeadMotion
from soliloquy.models.render.mouth import LipControl
from soliloquy.models.render.setup import FrameMotion
from soliloquy.models.render.warp import WarpRenderer, load, move, stay_inside

from ...helpers import ROOT, shared
from .drawn_face import drawn_face, weights

PORTRAITS = (
    "cartoon_852.jpg",
    "painting_three_quarter_1092x1280.jpg",
    "photo_tight_256.png",
    "tilted_print_708x648.jpg",
)


@pytest.fixture(scope="module")
def renderer():
    return load()


@pytest.fixture(scope="module")
def portrait():
    return drawn_face()


@pytest.fixture(scope="module")
def setup(renderer, portrait):
    return renderer.prepare(portrait)


def _motion(values, rotation=None, translation=None, scale=None, space="arkit52"):
    frames = len(values)
    return Motion(
        space=space,
        values=values,
        rotation=torch.zeros(frames, 3) if rotation is None else rotation,
        translation=torch.zeros(frames, 3) if translation is None else translation,
        scale=torch.ones(frames) if scale is None else scale,
        timeline=Timeline.for_frames(frames, 25),
    )


def _talking(frames=7):
    """Every kind of motion at once, changing from frame to frame."""
    phase = torch.linspace(0, 3.0, frames)[:, None]
    values = weights(jawOpen=0.6, eyeBlink=0.8, mouthSmile=0.4, eyeLookIn=0.3)
    rotation = torch.tensor([4.0, -6.0, 3.0])
    return _motion(
        phase.sin().abs() * values, phase.sin() * rotation, 0.05 * phase.cos().expand(-1, 3)
    )


def _psnr(a, b):
    error = ((a.float() - b.float()) ** 2).mean()
    return float(10 * torch.log10(255**2 / error.clamp(min=1e-9)))


def _smallest_determinant(setup, values, rotation):
    """Over the nodes each of the two fields is responsible for."""
    head = HeadMotion.of(setup.head, rotation, torch.zeros(3), torch.tensor(1.0))
    frame = FrameMotion(setup.landmark_offsets(values), LipControl.of(values), 0.0, head)
    upper, lower = determinant(jacobian(move(setup, frame), setup.lattice.cell))
    below_upper, below_lower = setup.mouth.beyond_edges(setup.nodes)
    margin = setup.lattice.cell
    return min(float(upper[below_upper < margin].min()), float(lower[below_lower > -margin].min()))


def test_motion_of_zeros_is_the_portrait(renderer, portrait):
    (frames,) = renderer.render(portrait, _motion(torch.zeros(2, 52)))
    assert torch.equal(frames[0], portrait.image)
    assert torch.equal(frames[1], portrait.image)


def test_almost_no_motion_is_almost_the_portrait(renderer, setup, portrait):
    frame = renderer.frame(setup, weights(jawOpen=1e-4), rotation=(1e-4, 0.0, 0.0))
    assert _psnr(frame, portrait.image) > 50


def test_every_batch_size_gives_the_same_frames(renderer, portrait):
    motion = _talking()
    runs = [torch.cat(list(renderer.render(portrait, motion, batch=size))) for size in (1, 3, 8)]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    assert runs[0].shape == (7, *portrait.size, 3)
    assert runs[0].dtype == torch.uint8


def test_a_frame_does_not_depend_on_those_before_it(renderer, setup, portrait):
    motion = _talking()
    frames = torch.cat(list(renderer.render(portrait, motion)))
    alone = renderer.frame(
        setup, motion.values[4], rotation=motion.rotation[4], translation=motion.translation[4]
    )
    assert torch.equal(frames[4], alone)


def test_the_far_corners_stay_still(renderer):
    portrait = drawn_face(500, 500, interocular=70.0)
    frames = torch.cat(list(renderer.render(portrait, _talking())))
    for rows, columns in itertools.product((slice(0, 40), slice(-40, None)), repeat=2):
        assert (frames[:, rows, columns] == portrait.image[rows, columns]).all()
    assert (frames != portrait.image).any()


@pytest.mark.parametrize("rotation", list(itertools.product((-12, 0, 12), (-15, 15), (-10, 10))))
def test_nothing_folds_at_the_extremes(setup, rotation):
    for jaw in (0.0, 1.0):
        values = weights(jawOpen=jaw, eyeBlink=1.0)
        assert _smallest_determinant(setup, values, torch.tensor(rotation).float()) > 0.02


@pytest.mark.parametrize("name", PORTRAITS)
def test_no_real_portrait_folds_at_the_extremes(renderer, name):
    pytest.importorskip("mediapipe")
    path, task = shared(f"data/portraits/{name}"), shared("models/face_landmarker.task")
    setup = renderer.prepare(prepare_portrait(read_image(path), face_landmarker=task))
    for pitch, yaw in itertools.product((-12, 12), (-15, 15)):
        rotation = torch.tensor([pitch, yaw, 10]).float()
        assert _smallest_determinant(setup, weights(jawOpen=1.0), rotation) > 0.02


def test_a_small_step_of_motion_is_a_small_step_of_the_picture(renderer, setup):
    values = weights(jawOpen=0.4, mouthSmile=0.2, eyeBlink=0.3)
    frames = [
        renderer.frame(setup, values * (1 + 0.01 * i), rotation=(0.0, 3 + 0.02 * i, 0.0))
        for i in range(4)
    ]
    steps = [(a.float() - b.float()).abs() for a, b in itertools.pairwise(frames)]
    assert all(step.mean() < 0.3 for step in steps)
    assert all(float(step.flatten().quantile(0.999)) < 25 for step in steps)


def _flicker(frames, portrait):
    """Strongest over weakest contrast of neighbouring pixels on the nose, over frames."""
    x, y = portrait.landmarks[30, :2].int().tolist()
    skins = [frame[y - 20 : y + 10, x - 15 : x + 15].float().mean(-1) for frame in frames]
    sharp = [float(skin.diff(dim=1).abs().mean()) for skin in skins]
    return max(sharp) / min(sharp) - 1


def test_sharpness_flickers_less_than_with_plain_sampling_as_the_head_drifts(
    renderer, setup, portrait
):
    unit = float(portrait.interocular)
    steps = [i / 8 for i in range(8)]  # of a pixel
    ours = [
        renderer.frame(setup, weights(), translation=((1 + step) / unit, 0.0, 0.0))
        for step in steps
    ]
    left, right = portrait.image[:, :-1].float(), portrait.image[:, 1:].float()
    plain = [torch.lerp(left, right, step) for step in steps]
    assert _flicker(ours, portrait) < 0.7 * _flicker(plain, portrait)


@pytest.mark.parametrize(
    ("height", "width", "interocular"), [(225, 225, 50.0), (300, 700, 60.0), (900, 360, 90.0)]
)
def test_any_shape_and_size_of_picture_renders(renderer, height, width, interocular):
    portrait = drawn_face(height, width, interocular=interocular)
    frame = renderer.frame(
        renderer.prepare(portrait), weights(jawOpen=0.7, eyeBlink=1.0), rotation=(5.0, -10.0, 6.0)
    )
    assert frame.shape == (height, width, 3)
    assert (frame != portrait.image).any()


def test_a_picture_of_2048_pixels_renders(renderer):
    portrait = drawn_face(2048, 2048, interocular=420.0)
    frame = renderer.frame(renderer.prepare(portrait), weights(jawOpen=0.7))
    assert frame.shape == (2048, 2048, 3)
    x, y = (portrait.landmarks[66, :2] + torch.tensor([0.0, 50.0])).int().tolist()
    assert frame[y, x].float().mean() < 90


def test_only_the_mask_may_change(renderer, portrait):
    mask = torch.zeros(portrait.size)
    mask[150:] = 1.0
    masked = dataclasses.replace(portrait, mask=mask)
    frames = torch.cat(list(renderer.render(masked, _talking())))
    assert (frames[:, :150] == portrait.image[:150]).all()
    assert (frames[:, 150:] != portrait.image[150:]).any()


def test_the_picture_is_stretched_at_its_border_where_something_is_missing():
    nodes = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="xy"))
    sources = (nodes - torch.tensor([6.0, -4.0]).view(2, 1, 1))[None]
    inside = stay_inside(sources, nodes, (48, 64))[0]
    assert inside[0].min() >= 0
    assert inside[1].max() <= 47
    assert (inside[0].diff(dim=1) > 0).all()
    assert (inside[1].diff(dim=0) > 0).all()
    assert torch.allclose(inside[:, 8:20, 58:], sources[0, :, 8:20, 58:], atol=0.01)
    assert torch.allclose(stay_inside(nodes[None], nodes, (48, 64))[0], nodes, atol=1e-3)


def test_progress_is_reported_and_may_interrupt(renderer, portrait):
    seen = []
    list(renderer.render(portrait, _talking(5), batch=2, on_frame=lambda *at: seen.append(at)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(renderer.render(portrait, _talking(5), on_frame=stop))


def test_inputs_are_left_alone(renderer, portrait):
    motion = _talking(3)
    before = portrait.image.clone(), motion.values.clone(), portrait.landmarks.clone()
    list(renderer.render(portrait, motion))
    assert torch.equal(portrait.image, before[0])
    assert torch.equal(motion.values, before[1])
    assert torch.equal(portrait.landmarks, before[2])


def test_motion_in_another_space_is_refused(renderer, portrait):
    motion = _motion(torch.zeros(2, 68, 3), space="landmarks68")
    with pytest.raises(PayloadError, match="arkit52, but landmarks68"):
        list(renderer.render(portrait, motion))
    with pytest.raises(PayloadError, match="batch of 0"):
        list(renderer.render(portrait, _talking(2), batch=0))


def test_the_demo_portrait_can_close_its_smile(renderer):
    from skimage.data import astronaut

    image = torch.from_numpy(astronaut().copy())
    portrait = prepare_portrait(image, landmarks=ROOT / "assets" / "astronaut_landmarks.json")
    setup = renderer.prepare(portrait)
    values = weights(mouthPress=0.3, mouthRollLower=0.12, mouthRollUpper=0.12)
    x, y = portrait.landmarks[[62, 66], :2].mean(0).int().tolist()
    teeth = image[y - 2 : y + 3, x - 5 : x + 6].float()
    closed = renderer.frame(setup, values)[y - 2 : y + 3, x - 5 : x + 6].float()
    assert (teeth[..., 1] - closed[..., 1]).mean() > 30


def test_a_renderer_can_be_built_with_another_rig(portrait):
    rig = load().rig
    frozen = dataclasses.replace(rig, basis=torch.zeros_like(rig.basis))
    still = WarpRenderer(rig=frozen)
    frame = still.frame(still.prepare(portrait), weights(mouthSmile=1.0))
    assert _psnr(frame, portrait.image) > 50
