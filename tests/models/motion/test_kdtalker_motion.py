"""The reference mode is the published program; the default mode has its seams mended."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion import kdtalker_motion
from soliloquy.models.motion.kdtalker_motion import (
    OVERLAP,
    WINDOW,
    KDTalkerMotion,
    clip_noise,
    load,
    plan_windows,
    references,
    resample,
    statistics,
)
from soliloquy.models.payloads import PayloadError, Speech, Timeline
from soliloquy.models.render.liveportrait.keypoints import pose_from_motion

from ...helpers import shared
from ...pseudo_weights import given, relative_error
from .kdtalker_weights import average_source, golden, network, small


def speech(frames, fps=25, seed=0):
    """Random features without sound."""
    timeline = Timeline.for_frames(frames, fps)
    random = torch.Generator().manual_seed(seed)
    stream = torch.rand(timeline.num_frames, 512, generator=random)
    return Speech(streams={"wav2lip": stream}, timeline=timeline)


def golden_source():
    """The portrait of the golden run, from its standardised state."""
    known, numbers = statistics(), golden("kdtalker")
    deviation, mean = known.motion_deviation.double(), known.motion_mean.double()
    motion = (numbers["ref_kps0"][0].double() * deviation + mean).float()
    deviation, mean = known.keypoints_deviation.double(), known.keypoints_mean.double()
    return average_source(
        kp=(numbers["ori_kps"][0, 7:].double() * deviation + mean).float().reshape(21, 3),
        exp=motion[7:].reshape(21, 3),
        scale=float(motion[0]),
        yaw=float(motion[1]),
        pitch=float(motion[2]),
        roll=float(motion[3]),
        t=motion[4:7],
    )


@pytest.mark.parametrize("steps", [5, 10])
def test_a_window_is_the_golden_window(steps, monkeypatch):
    identity, before = given("s_ori", (1, 70))[0], given("s_ref", (1, 70, 3))[0, :, 0]
    monkeypatch.setattr(kdtalker_motion, "references", lambda source: (identity, before))
    found = KDTalkerMotion(network=network()).sample_standardised(
        given("s_aud", (1, 64, 512), 0.3).abs()[0],
        average_source(),
        given("s_noise", (1, 64, 70, 3))[0, ..., 0],
        steps=steps,
        mode="reference",
    )
    assert relative_error(found, golden("misc")[f"sample{steps}"]) < 1e-5


def test_the_whole_reference_run_has_the_golden_numbers(monkeypatch):
    numbers, source = golden("kdtalker"), golden_source()
    identity, before = references(source)
    assert relative_error(identity, numbers["ori_kps"][0]) < 1e-6
    assert relative_error(before, numbers["ref_kps0"][0]) < 1e-6
    noise = torch.cat([given(f"noise{i}", (1, 64, 70, 3))[0, ..., 0] for i in range(4)])
    monkeypatch.setattr(kdtalker_motion, "clip_noise", lambda *_: noise)
    heard = Speech(
        streams={"wav2lip": numbers["aud_feat"]}, timeline=Timeline.for_sound(128000, 16000, 25)
    )
    model = KDTalkerMotion(network=network())
    motion = model.sample(heard, source, mode="reference")
    keypoints = pose_from_motion(source, motion).keypoints(source.kp)
    assert relative_error(source.keypoints, numbers["x_s"]) < 1e-5
    assert relative_error(keypoints, numbers["x_d"]) < 1e-4


def test_a_sound_that_ends_within_a_frame_is_the_same_run_and_holds_its_last_frame():
    whole, longer = speech(70), speech(71)
    longer = replace(
        longer,
        streams={"wav2lip": torch.cat([whole.streams["wav2lip"], torch.zeros(1, 512)])},
        timeline=Timeline.for_sound(70 * 640 + 99, 16000, 25),
    )
    model, source = KDTalkerMotion(network=small()), average_source()
    expected = model.sample(whole, source, mode="reference").values
    found = model.sample(longer, source, mode="reference").values
    assert torch.equal(found[:70], expected)
    assert torch.equal(found[70], expected[69])


def test_reference_windows_wrap_around_and_default_windows_never_do(monkeypatch):
    def heard_by(mode, frames):
        contexts = []
        model = small()
        condition = type(model).condition
        monkeypatch.setattr(
            type(model),
            "condition",
            lambda self, context: contexts.append(context[0, 2:]) or condition(self, context),
        )
        KDTalkerMotion(network=model).sample(speech(frames), average_source(), steps=2, mode=mode)
        monkeypatch.undo()
        return contexts, speech(frames).streams["wav2lip"]

    contexts, stream = heard_by("reference", 100)
    assert torch.equal(torch.cat(contexts), torch.cat([stream, stream[:28]]))
    contexts, stream = heard_by("default", 100)
    assert torch.equal(contexts[0], stream[:64])
    assert torch.equal(contexts[1], stream[36:])
    contexts, stream = heard_by("reference", 20)  # upstream breaks below 32 frames
    assert torch.equal(contexts[0], stream.repeat(4, 1)[:64])
    contexts, stream = heard_by("default", 20)
    assert torch.equal(contexts[0], torch.cat([stream, stream[-1:].expand(44, -1)]))


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 79, 112, 113, 200, 15000])
def test_default_windows_cover_the_clip_and_overlap(frames):
    windows = plan_windows(frames)
    assert windows[0].start == 0
    assert windows[-1].start + WINDOW == max(frames, WINDOW)
    for earlier, later in pairwise(windows):
        assert later.start > earlier.start
        assert later.known == earlier.start + WINDOW - later.start >= OVERLAP


@pytest.mark.parametrize(
    "file", ["english_16k_stereo_8s", "british_44k_stereo_10s", "chinese_24k_mono_5s"]
)
def test_no_seam_is_larger_than_the_usual_jump_between_frames(file):
    import soundfile
    from soliloquy.models import checkpoints
    from soliloquy.models.speech.wav2lip import Wav2LipSpeechEncoder

    from ..speech.test_wav2lip import published

    sound, rate = soundfile.read(shared(f"data/speech/{file}.wav"), dtype="float32", always_2d=True)
    encoder = Wav2LipSpeechEncoder(checkpoints.load("wav2lip_audio", published()))
    heard = encoder.encode(
        torch.from_numpy(sound.T.copy()), rate, Timeline.for_sound(len(sound), rate, 25)
    )
    motion = KDTalkerMotion(network=network()).sample(heard, average_source())
    jumps = motion.values.diff(dim=0).flatten(1).norm(dim=1)
    assert jumps[63] <= jumps.quantile(0.95)


def test_a_window_continues_the_one_before_it():
    model, source, heard = KDTalkerMotion(network=small()), average_source(), speech(100)
    noise = clip_noise(100, seed=0)
    stream = heard.streams["wav2lip"]
    whole = model.sample_standardised(stream, source, noise)
    first = model.sample_standardised(stream[:64], source, noise)
    start, known = plan_windows(100)[1].start, plan_windows(100)[1].known
    assert torch.equal(whole[:start], first[:start])
    # Frames further than the fade from the end of the old window are the old window's.
    assert torch.allclose(whole[: start + known - OVERLAP], first[: start + known - OVERLAP])
    assert not torch.allclose(whole[start + known - 1], first[start + known - 1])


@pytest.mark.parametrize("mode", ["default", "reference"])
@pytest.mark.parametrize("frames", [1, 3, 21, 64, 65, 130])
@pytest.mark.parametrize("fps", [25, 24, 60])
def test_any_length_and_rate_gives_one_pose_per_frame(frames, fps, mode):
    heard = speech(frames, fps)
    motion = KDTalkerMotion(network=small()).sample(heard, average_source(), steps=2, mode=mode)
    assert motion.space == "liveportrait"
    assert len(motion.values) == heard.timeline.num_frames
    assert motion.timeline is heard.timeline


def test_the_seed_decides_and_a_longer_clip_begins_with_the_same_noise():
    model, source = KDTalkerMotion(network=small()), average_source()

    def sample(seed):
        return model.sample(speech(30), source, seed=seed).values

    assert torch.equal(sample(1), sample(1))
    assert not torch.equal(sample(1), sample(2))
    assert torch.equal(clip_noise(500, 7)[:64], clip_noise(10, 7))


def test_reference_noise_is_what_a_seeded_published_program_draws():
    torch.manual_seed(11)
    drawn = [torch.randn(1, 64, 70, 3)[0, ..., 0] for _ in range(2)]
    assert torch.equal(clip_noise(100, 11, "reference"), torch.cat(drawn))


def test_predicted_scale_and_translation_are_used_on_request():
    source, heard = average_source(), speech(40)
    still = KDTalkerMotion(network=small()).sample(heard, source)
    assert torch.allclose(still.scale, torch.ones(40))
    assert still.translation.abs().max() == 0
    moving = KDTalkerMotion(network=small(), use_scale=True, use_translation=True)
    motion = moving.sample(heard, source)
    assert motion.scale.std() > 0
    assert (motion.translation.std(dim=0)[:2] > 0).all()
    assert motion.translation[:, 2].abs().max() == 0
    assert torch.equal(motion.values, still.values)


def test_steps_are_reported_over_all_windows_and_an_interrupt_passes_within_one(monkeypatch):
    model, source = KDTalkerMotion(network=small()), average_source()
    seen, denoised = [], []
    step = type(model.network).step
    monkeypatch.setattr(
        type(model.network), "step", lambda *given: denoised.append(1) or step(*given)
    )
    model.sample(speech(100), source, steps=3, on_step=lambda *step: seen.append(step))
    assert seen == [(i, 6) for i in range(1, 7)]
    denoised.clear()

    def stop(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.sample(speech(100), source, steps=3, on_step=stop)
    assert len(denoised) == 4, "it went on after the interrupt"


def test_what_cannot_be_used_is_refused_with_a_sentence():
    model, source, heard = KDTalkerMotion(network=small()), average_source(), speech(5)
    with pytest.raises(PayloadError, match="default, reference"):
        model.sample(heard, source, mode="fast")
    with pytest.raises(PayloadError, match="without guidance"):
        model.sample(heard, source, guidance=2.5)
    with pytest.raises(PayloadError, match="needs a portrait"):
        model.sample(heard)
    with pytest.raises(PayloadError, match="speech stream 'wav2lip'"):
        model.sample(Speech(streams={}, timeline=heard.timeline), source)
    with pytest.raises(PayloadError, match="2 to 1000"):
        model.sample(heard, source, steps=1)
    with pytest.raises(CheckpointError, match=r"KDTalker\.pth"):
        load()


def test_curves_pass_through_their_points_at_another_rate():
    values = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    finer = resample(values, Fraction(25), Fraction(75), 120)
    assert torch.allclose(finer[1::3], values, atol=1e-5)
    line = torch.arange(40.0)[:, None]
    halves = resample(line, Fraction(25), Fraction(50), 80)[4:-4, 0]
    assert torch.allclose(halves, (torch.arange(80)[4:-4] + 0.5) / 2 - 0.5, atol=1e-5)
    assert resample(line[:1], Fraction(25), Fraction(60), 3).tolist() == [[0.0]] * 3


def test_statistics_describe_every_channel():
    known = statistics()
    assert known.motion_mean.shape == known.motion_deviation.shape == (70,)
    assert known.keypoints_mean.shape == known.keypoints_deviation.shape == (63,)
    assert (known.motion_deviation > 0).all()
    assert float(known.motion_mean[0]) == pytest.approx(1.6792353)
    assert (known.motion_deviation[7:] < 1e-4).sum() == 17  # depths that hardly move


def test_the_motion_extractor_tells_who_speaks(tmp_path):
    from soliloquy.models.render.liveportrait.motion_extractor import MotionExtractor

    from ..render.liveportrait.faces import portrait

    torch.manual_seed(0)
    model = KDTalkerMotion(network=small(), extractor=MotionExtractor().eval())
    motion = model.sample(speech(5), portrait(), steps=2)
    assert motion.values.shape == (5, 21, 3)
