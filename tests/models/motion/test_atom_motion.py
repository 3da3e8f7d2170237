"""Windows become a clip of any length without a seam; the reference mode is the published one."""

import pytest
import torch
from soliloquy.models import sampling
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.motion import atom_motion
from soliloquy.models.motion.atom_motion import AToMMotion, ClipSampler, plan_windows
from soliloquy.models.motion.atom_small import AToMSmall, AToMSmallConfig
from soliloquy.models.motion.atom_speakers import PublishedSpeaker, SmallSpeaker
from soliloquy.models.motion.likeness import Likeness, rig_likeness
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.payloads import PayloadError, Speech, Timeline
from soliloquy.models.speech import starter

from ...pseudo_weights import given
from ..render.drawn_face import drawn_face
from .atom_weights import golden, small

CPU = torch.device("cpu")


def voice(seconds=2.0, fps=25, seed=0):
    """Speech for either network."""
    timeline = Timeline.for_sound(int(seconds * 16000), 16000, fps)
    frames, random = timeline.num_frames, torch.Generator().manual_seed(seed)
    streams = {
        "hubert": torch.randn(frames, 2048, generator=random) * 0.5,
        "expression": torch.randn(frames, 64, generator=random),
        "energy": torch.rand(frames, 1, generator=random),
        "f0": torch.full((frames, 1), 120.0),
    }
    return Speech(streams=streams, timeline=timeline)


def published(**options):
    return AToMMotion(network=small(), **options)


def ours(**options):
    torch.manual_seed(0)
    network = AToMSmall(AToMSmallConfig(width=16, depth=1, frames=40)).requires_grad_(False)
    network.deviation.fill_(0.02)
    network.face.copy_(load_rig().mean_face.flatten())
    return AToMMotion(network=network, **options)


def test_windows_cover_the_clip_and_share_frames():
    windows = plan_windows(200, 100)
    assert [(w.start, w.known) for w in windows] == [(0, 0), (84, 16), (100, 84)]
    assert plan_windows(60, 100) == plan_windows(100, 100)
    assert [w.start for w in plan_windows(313, 156, side_by_side=True)] == [0, 156, 312]


def test_reference_sampling_gives_the_golden_landmarks(monkeypatch):
    """One window of 50 steps with the stored noise; these weights amplify rounding."""
    first, heard = given("at_sl", (204,), 0.5), given("at_sa", (1, 24, 1024), 0.5)
    drawn = iter([given(f"atoms_n{k}", (1, 12, 204))[0] for k in range(50)])
    monkeypatch.setattr(atom_motion, "seeded_noise", lambda *_: next(drawn))
    last = torch.zeros(12, 204)  # is drawn, but the last step adds nothing of it
    monkeypatch.setattr(sampling, "seeded_noise", lambda *_: next(drawn, last))
    sampler = ClipSampler(
        speaker=PublishedSpeaker(small(), CPU, None),
        device=CPU,
        heard=heard.reshape(12, 2, 1024),
        likeness=Likeness(first=first, scale=torch.eye(3)),
        steps=50,
        guidance=2.0,
        reference=True,
    )
    found = (sampler.sample(0) / 10 + given("at_mean", (204,), 0.3)).unflatten(-1, (68, 3))
    wanted = golden()["atoms_landmarks_sub"]
    assert float((found[::4] - wanted).abs().max()) < 0.02


@pytest.mark.parametrize("model", [published, ours])
@pytest.mark.parametrize("fps", [25, 30, "24000/1001"])
def test_any_length_and_rate_gives_finite_motion_on_the_timeline(model, fps):
    said = voice(3.3, fps)
    motion = model().sample(said, drawn_face(), steps=2)
    assert motion.space == "landmarks68"
    assert motion.values.shape == (said.timeline.num_frames, 68, 3)
    assert 1e-4 < float(motion.values.abs().max()) < 1


def test_the_same_seed_gives_the_same_motion_and_another_one_another():
    one, two, three = (ours().sample(voice(), seed=seed, steps=3).values for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.allclose(one, three, atol=1e-3)


@pytest.mark.parametrize("model", [published, ours])
def test_nothing_jumps_where_windows_meet(model):
    """Random weights tremble everywhere; borders are no worse than the rest."""
    size = model().speaker().window
    values = model().sample(voice(6.0), drawn_face(), steps=4).values.flatten(1)
    steps = values.diff(dim=0).norm(dim=1)
    if size > atom_motion.OVERLAP:
        borders = [w.start for w in plan_windows(150, size)[1:]]
        assert float(steps[[b - 1 for b in borders]].max()) <= float(steps.quantile(0.99))
    assert len(values) == 150


def test_the_old_window_is_forgotten_evenly():
    """Not by half in the last frame that it is shown in: the next one would jump."""
    network = atom_motion.load_small().network
    speaker, random = SmallSpeaker(network, CPU), torch.Generator().manual_seed(0)
    sampler = ClipSampler(
        speaker=speaker,
        device=CPU,
        heard=torch.randn(200, 64, generator=random),
        likeness=rig_likeness(None),
        steps=10,
        guidance=2.0,
        reference=False,
    )
    noise, old = torch.randn(2, 100, 204, generator=random)
    old = sampler.likeness.first + 0.01 * old
    chained, free = (
        sampler._window(atom_motion.Window(start=84, known=known), noise, old, random, None)
        for known in (16, 0)
    )
    away = (chained - free)[:20].norm(dim=1)
    assert away[:4].mean() > 3 * away[12:16].mean()
    assert away[15] < 0.15 * away[0]
    assert away[16:].max() < 0.15 * away[0]


def test_chained_windows_go_on_from_what_was_said_and_are_drawn_back():
    sampler = ClipSampler(
        speaker=PublishedSpeaker(small(), CPU, None),
        device=CPU,
        heard=torch.zeros(40, 2, 1024),
        likeness=Likeness(first=torch.zeros(204), scale=torch.eye(3)),
        steps=2,
        guidance=1.0,
        reference=False,
    )
    old = torch.ones(12, 204)
    first = sampler._first(atom_motion.Window(start=20, known=8), old)
    assert torch.allclose(first, torch.full((204,), atom_motion.BELIEF))
    assert float(sampler._first(atom_motion.Window(start=0, known=0), old).abs().max()) == 0


def test_the_head_moves_with_the_voice_unless_it_shall_not():
    assert float(ours().sample(voice(4.0), steps=2).rotation.abs().max()) > 0.05
    still = ours(gestures=False).sample(voice(4.0), steps=2)
    assert float(still.rotation.abs().max()) == 0
    assert torch.equal(still.scale, torch.ones(100))


def test_progress_counts_every_step_of_every_window_and_may_stop():
    seen = []
    ours().sample(voice(3.0), steps=2, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ours().sample(voice(), on_step=stop)


def test_impossible_options_are_refused():
    with pytest.raises(PayloadError, match="modes default, reference"):
        published(mode="fast").sample(voice())
    with pytest.raises(PayloadError, match="1 to 1000"):
        published().sample(voice(), steps=0)
    with pytest.raises(CheckpointError, match=r"atom\.pt"):
        atom_motion.load()


def test_the_bundled_weights_close_lips_and_open_them():
    """Loud and silent halves of a synthetic voice; a mouth that shows its teeth closes, too."""
    timeline = Timeline.for_sound(4 * 16000, 16000, 25)
    time = torch.arange(4 * 16000) / 16000
    tone = sum(torch.sin(2 * torch.pi * 120 * k * time) / k for k in range(1, 20))
    syllables = (torch.sin(2 * torch.pi * 3 * time) > 0) * (time < 2.5)
    sound = (0.1 * tone * syllables)[None]
    speech = starter.load().encode(sound, 16000, timeline)
    values = atom_motion.load_small().sample(speech, drawn_face()).values
    neutral = load_rig().neutral_of(drawn_face())
    gap = (neutral + values)[:, 66, 1] - (neutral + values)[:, 62, 1]
    assert float(gap[10:60].max()) > 0.03
    assert float(gap[80:].mean()) < float(gap[10:60].mean())
