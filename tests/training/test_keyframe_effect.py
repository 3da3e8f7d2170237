"""Moved keyframes are found again in motion that follows them, and not in one that does not."""

import re
from pathlib import Path

import torch
from soliloquy.models.keyframes.establish import establish
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import Motion, Speech, Timeline
from soliloquy.training.keyframe_effect import agreement, draw, main, measure, moved

TIMELINE = Timeline.for_frames(250, 25)
SPEECH = Speech(streams={"energy": torch.zeros(250, 1)}, timeline=TIMELINE)


class Obedient:
    """Moves at every keyframe, or wherever it likes."""

    def __init__(self, obeys=True):
        self.obeys = obeys

    def sample(self, speech, portrait=None, keyframes=None, *, seed):
        generator = torch.Generator().manual_seed(seed)
        led = keyframes if self.obeys else None
        paths = [self.steps(led and led.marks[p], generator) for p in ("expression", "pose")]
        values = torch.zeros(250, 52)
        values[:, INDEX["jawOpen"]] = paths[0]
        return Motion(
            space="arkit52",
            values=values,
            rotation=10 * paths[1][:, None] * torch.tensor([0.2, 1.0, 0.1]),
            translation=torch.zeros(250, 3),
            scale=torch.ones(250),
            timeline=speech.timeline,
        )

    def steps(self, marks, generator):
        """To and fro, once for each mark or each half second."""
        if marks is None:
            marks = torch.zeros(250, dtype=torch.bool)
            marks[torch.randperm(250, generator=generator)[:16]] = True
        return (marks.long().cumsum(0) % 2).float()


def test_moving_keyframes_keeps_their_number_nearly_and_moves_them_all():
    before = establish(Obedient().sample(SPEECH, seed=1))
    after = moved(before, 3)
    for path in ("expression", "pose"):
        counts = int(before.marks[path].sum()), int(after.marks[path].sum())
        assert 0.6 * counts[0] <= counts[1] <= counts[0]
        assert not (before.marks[path] & after.marks[path]).all()
        assert ((after.strength[path] > 0) == after.marks[path]).all()
    assert torch.equal(moved(before, 3).marks["pose"], after.marks["pose"])


def test_motion_agrees_with_its_own_keyframes():
    motion = Obedient().sample(SPEECH, seed=1)
    for path in ("expression", "pose"):
        assert agreement(establish(motion), motion, path) > 0.99


def test_obedience_and_its_absence_are_measured():
    good, bad = (measure(Obedient(obeys), [SPEECH, SPEECH]) for obeys in (True, False))
    for path in ("expression", "pose"):
        assert good[f"{path} keyframes given"] > 0.5
        assert abs(bad[f"{path} keyframes given"]) < 0.3
        assert good[f"{path} keyframes before"] < good[f"{path} keyframes given"] - 0.3


def test_a_figure_is_drawn(tmp_path):
    file = tmp_path / "figure.png"
    draw(Obedient(), SPEECH, file)
    assert file.read_bytes()[:4] == b"\x89PNG"


def test_the_command_finds_the_bundled_model_led_by_the_demo_sentence(tmp_path, capsys):
    sound = Path(__file__).resolve().parents[2] / "assets" / "demo.wav"
    main([str(sound), "--seeds", "1", "--figure", str(tmp_path / "effect.png")])
    said = capsys.readouterr().out
    given, before = (
        float(re.search(rf"expression keyframes {w} (\S+),", said)[1]) for w in ("given", "before")
    )
    assert given > before + 0.2
    assert (tmp_path / "effect.png").stat().st_size > 10_000
