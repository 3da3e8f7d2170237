"""Motion of any length from KSDiff: no seams, the same for the same seed, led by keyframes."""

from dataclasses import replace
from functools import cache
from math import ceil

import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.ksdiff import KSDiff, PathConfig
from soliloquy.models.motion.ksdiff_motion import (
    CONTEXT,
    NEW,
    OVERLAP,
    KSDiffMotionModel,
    blink_moments,
    load,
    strength_at,
    variety,
)
from soliloquy.models.payloads import Keyframes, PayloadError, Speech, Timeline
from soliloquy.models.speech.ksdiff import load as load_speech

from ...helpers import shared

SMALL = PathConfig(speech=12, text=9, width=16, layers=2)


@cache
def model(dual=True):
    """Random weights that say something."""
    torch.manual_seed(0)
    paths = {"expression": SMALL, "pose": replace(SMALL, channels=7, band=4)}
    if not dual:
        paths = {"both": replace(SMALL, channels=59, speech=24, keyframes=2)}
    network = KSDiff(paths).eval().requires_grad_(False)
    for name in paths:
        path = network.path(name)
        torch.nn.init.normal_(path.motion_out.weight, std=0.2)
        path.mean.fill_(0.3)
        path.deviation.fill_(0.2)
    return KSDiffMotionModel(network=network)


def speech(seconds=2.0, fps=25, seed=3, **changes):
    timeline = Timeline.for_sound(max(int(seconds * 16000), 1), 16000, fps)
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 33, 600, generator=random)  # as fast as speech at every frame rate
    rows = (timeline.frame_centres() * 20).long().clamp(max=599)
    expression, pose, text = coarse[0, :, rows].T.contiguous().split([12, 12, 9], dim=1)
    streams = {"expression": expression, "pose": pose, "text": text}
    streams = {k: v.contiguous() for k, v in {**streams, **changes}.items() if v is not None}
    return Speech(streams=streams, timeline=timeline)


def keyframes(heard, **frames):
    marks = {p: torch.zeros(heard.timeline.num_frames, dtype=torch.bool) for p in frames}
    for path, chosen in frames.items():
        marks[path][chosen] = True
    strength = {path: 1.5 * given.float() for path, given in marks.items()}
    return Keyframes(marks=marks, strength=strength, timeline=heard.timeline)


def difference(a, b):
    return float((a.values - b.values).abs().max() + (a.rotation - b.rotation).abs().max())


@pytest.mark.parametrize("seconds", [0.001, 0.1, 1.0, 3.7, 9.0])
@pytest.mark.parametrize("fps", [12, 25, "30000/1001"])
def test_every_length_and_rate_has_one_row_per_frame(seconds, fps):
    heard = speech(seconds, fps)
    motion = model().sample(heard, steps=2)
    assert motion.values.shape == (heard.timeline.num_frames, 52)
    assert (motion.values.min() >= 0, motion.values.max() <= 1) == (True, True)
    assert motion.rotation.abs().max() < 35


def test_the_same_seed_gives_the_same_motion_and_another_seed_another():
    heard = speech(5.0)
    first, second = (model().sample(heard, steps=3, seed=7) for _ in range(2))
    assert difference(first, second) == 0
    assert difference(first, model().sample(heard, steps=3, seed=8)) > 0.05


def test_a_longer_sound_begins_alike():
    long, short = speech(9.0), speech(4.5)
    a, b = (model().sample(heard, steps=3) for heard in (long, short))
    alike = NEW - max(OVERLAP.values())  # the last window of a shorter sound is taken over by none
    assert (a.values[:alike] - b.values[:alike]).abs().max() < 1e-5


def test_windows_join_without_a_jump():
    motion = model().sample(speech(30.0), steps=4)
    for curve in (motion.values, motion.rotation):
        step = curve.diff(dim=0).norm(dim=1)
        borders = torch.arange(NEW, len(curve), NEW) - 1
        assert step[borders].median() <= step.quantile(0.95)


@pytest.mark.parametrize(
    "file", ["english_16k_stereo_8s", "british_44k_stereo_10s", "chinese_24k_mono_5s"]
)
def test_neither_face_nor_head_jumps_where_bundled_windows_meet(file):
    import soundfile

    sound, rate = soundfile.read(shared(f"data/speech/{file}.wav"), dtype="float32", always_2d=True)
    timeline = Timeline.for_sound(len(sound), rate, 25)
    heard = load_speech().encode(torch.from_numpy(sound.T.copy()), rate, timeline)
    motion = load().sample(heard)
    face, head = (x.diff(dim=0).norm(dim=1) for x in (motion.values, motion.rotation))
    assert (face[NEW - 1 :: NEW] <= face.quantile(0.95)).all()
    stride = NEW - OVERLAP["pose"]
    assert (head[stride - 1 :: stride] <= head.quantile(0.95)).all()
    assert (head[NEW - 1 :: NEW] <= head.quantile(0.95)).all()  # nor where they met before


def test_the_motion_begins_near_the_portrait_at_rest():
    motion = model().sample(speech(3.0), steps=4)
    assert motion.rotation[0].norm() < motion.rotation.norm(dim=1).max()


@pytest.mark.parametrize("name", ["expression", "pose", "text"])
def test_every_stream_is_heard(name):
    heard = speech()
    other = speech(**{name: heard.streams[name] + 2})
    assert difference(model().sample(heard, steps=2), model().sample(other, steps=2)) > 1e-3


def test_the_text_may_be_absent():
    assert difference(model().sample(speech(), steps=2), model().sample(speech(text=None), steps=2))


def test_keyframes_of_a_path_move_that_path_alone():
    heard = speech(4.0)
    free = model().sample(heard, steps=3)
    told = model().sample(heard, None, keyframes(heard, pose=[30, 60]), steps=3)
    mouth = [INDEX["jawOpen"], INDEX["eyeBlinkLeft"], INDEX["browInnerUp"]]  # eyes follow the head
    assert torch.equal(free.values[:, mouth], told.values[:, mouth])
    assert (free.rotation - told.rotation).abs().max() > 1e-3
    moved = model().sample(heard, None, keyframes(heard, pose=[40, 60]), steps=3)
    assert (told.rotation - moved.rotation).abs().max() > 1e-3


def test_keyframes_are_found_again_at_25_frames_per_second():
    heard = speech(4.0, fps=60)
    strength = strength_at(keyframes(heard, pose=[0, 60, 61, 239]), "pose", heard.timeline)
    assert strength.nonzero().flatten().tolist() == [0, 25, 99]
    assert strength.max() == 1.5
    assert (strength_at(None, "pose", heard.timeline) == -1).all()
    assert (strength_at(keyframes(heard, pose=[3]), "expression", heard.timeline) == -1).all()


def test_one_network_can_do_both():
    heard = speech(4.0)
    motion = model(dual=False).sample(heard, steps=2)
    assert motion.values.shape == (100, 52)
    told = keyframes(heard, pose=[50], expression=[30])
    assert difference(motion, model(dual=False).sample(heard, None, told, steps=2)) > 1e-3


def test_guidance_changes_what_is_said():
    heard = speech()
    usual, plain, strong = (model().sample(heard, steps=2, guidance=g) for g in (1.5, 1, 3))
    assert difference(plain, strong) > difference(plain, usual) > 1e-3
    assert difference(usual, model().sample(heard, steps=2)) == 0


def test_keyframes_are_followed_more_closely_with_guidance():
    heard = speech(4.0)
    told = keyframes(heard, pose=[50])
    free = model().sample(heard, steps=2)
    moved = []
    for guidance in (0, 1, 3):
        led = replace(model(), keyframe_guidance=guidance).sample(heard, None, told, steps=2)
        moved.append(float((led.rotation - free.rotation).norm()))
    assert moved[0] == pytest.approx(0, abs=1e-4)
    assert 0 < moved[1] < moved[2]


def test_guidance_by_speech_and_keyframes_is_the_sum_of_both():
    heard = speech(2.0)
    told = keyframes(heard, pose=[20])
    both = model().sample(heard, None, told, steps=1, guidance=1.5)
    plain = replace(model(), keyframe_guidance=1)
    spoken, free = (plain.sample(heard, steps=1, guidance=g).rotation for g in (1.5, 1))
    led = plain.sample(heard, None, told, steps=1, guidance=1).rotation
    wanted = spoken + model().keyframe_guidance * (led - free)
    assert torch.allclose(both.rotation, wanted, atol=1e-3)


def test_seeds_differ_more_in_brows_than_in_lips():
    share = variety("expression")
    assert share[INDEX["jawOpen"]] == share[INDEX["mouthFunnel"]] == 0.5
    assert share[INDEX["browInnerUp"]] == share[INDEX["eyeBlinkLeft"]] == 1
    assert (variety("pose") == 1).all()


def test_lids_that_come_near_a_blink_blink_and_others_stay_open():
    weights = torch.zeros(100, 52)
    lids = [INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]
    for frame, amount in ((20, 0.5), (21, 0.6), (50, 0.3), (80, 0.9)):
        weights[frame, lids] = amount
    begun = blink_moments(weights)
    assert torch.allclose(begun, torch.tensor([21.5, 80.5]) / 25 - 0.1425)
    assert len(blink_moments(torch.zeros(5, 52))) == 0


@pytest.mark.parametrize("fps", [24, 25, 60])
def test_blinks_are_whole_at_every_frame_rate(fps):
    values = model().sample(speech(6.0, fps), steps=2).values[:, INDEX["eyeBlinkLeft"]]
    tops = values[1:-1][(values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])]
    assert len(tops) > 0
    assert tops.min() > 0.9
    half = replace(model(), whole_blinks=False).sample(speech(6.0, fps), steps=2).values
    assert not torch.equal(half[:, INDEX["eyeBlinkLeft"]], values)


def test_progress_counts_up_to_the_end_and_can_stop():
    seen = []
    model().sample(speech(9.0), steps=3, on_step=lambda *step: seen.append(step))
    windows = ceil(225 / NEW) + ceil(225 / (NEW - OVERLAP["pose"]))
    assert seen == [(i + 1, 3 * windows) for i in range(3 * windows)]

    def stop(done, total):
        if done == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        model().sample(speech(9.0), steps=3, on_step=stop)


def test_wrong_speech_keyframes_and_steps_are_explained():
    with pytest.raises(PayloadError, match=r"'pose' has 5 channels; KSDiff needs 12"):
        model().sample(speech(pose=torch.zeros(50, 5)))
    with pytest.raises(PayloadError, match="KSDiff needs the speech stream 'expression'"):
        model().sample(speech(expression=None))
    with pytest.raises(PayloadError, match=r"for 100 frames .* has 50"):
        model().sample(speech(), None, keyframes(speech(4.0), pose=[3]))
    with pytest.raises(PayloadError, match="0 sampling steps"):
        model().sample(speech(), steps=0)


def test_speech_and_keyframes_stay_as_they_are():
    heard = speech(1.0)
    marks = keyframes(heard, expression=[0, 24])
    before = {name: value.clone() for name, value in heard.streams.items()}
    model().sample(heard, None, marks, steps=2)
    assert all(torch.equal(value, before[name]) for name, value in heard.streams.items())
    assert marks.marks["expression"].sum() == 2
    assert CONTEXT + NEW == 100
