"""Keyframes as a list, and changes by hand."""

import pytest
import torch
from soliloquy.models.keyframes.edit import adjust, as_text, change, from_text, none
from soliloquy.models.payloads import Keyframes, PayloadError, Timeline


def some(seconds: float = 5, fps: float | str = 25) -> Keyframes:
    timeline = Timeline.for_sound(int(seconds * 16000), 16000, fps)
    return from_text("0:01.20 expression 0.8\n0:02.44 pose\n3.5 both 2", timeline)


def times(keyframes: Keyframes, path: str) -> list[float]:
    centres = keyframes.timeline.frame_centres()[keyframes.marks[path]]
    return [round(float(moment), 2) for moment in centres]


def test_a_list_is_read():
    keyframes = some()
    assert times(keyframes, "expression") == [1.22, 3.50]
    assert times(keyframes, "pose") == [2.46, 3.50]
    assert keyframes.strength["expression"][keyframes.marks["expression"]].tolist() == (
        pytest.approx([0.8, 2.0])
    )


@pytest.mark.parametrize("fps", [1, 12, 23.976, 25, 50, 59.94, 120])
def test_what_is_written_can_be_read_again(fps):
    timeline = Timeline.for_sound(16000 * 70 + 123, 16000, fps)
    generator = torch.Generator().manual_seed(0)
    marks = {
        path: torch.rand(timeline.num_frames, generator=generator) > 0.5
        for path in ("expression", "pose")
    }
    marks["pose"][-1] = True
    strength = {path: marked * 0.25 for path, marked in marks.items()}
    keyframes = Keyframes(marks=marks, strength=strength, timeline=timeline)
    again = from_text(as_text(keyframes), timeline)
    for path, marked in marks.items():
        assert torch.equal(again.marks[path], marked)
        torch.testing.assert_close(again.strength[path], strength[path])


def test_lines_add_remove_move_and_set_the_strength():
    before = some()
    after = change(
        before,
        """
        # quieter in the middle
        0:01.20 expression 0.5
        remove 3.4 pose          # the one at 3.5
        move 2.5 0:04 pose
        0:00.10 pose 1.5
        """,
    )
    assert times(after, "expression") == [1.22, 3.50]
    assert times(after, "pose") == [0.1, 4.02]
    assert float(after.strength["expression"][30]) == pytest.approx(0.5)
    assert float(after.strength["pose"][100]) == pytest.approx(1.0)
    assert times(before, "pose") == [2.46, 3.50]  # a copy


def test_a_keyframe_of_strength_nothing_is_none():
    assert times(change(some(), "0:01.20 expression 0"), "expression") == [3.5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("soon pose", "'soon' is not a moment. Write for example"),
        ("9 pose", "the sound goes from 0 to 5.00 s"),
        ("1 head", r"'head' is neither a path \(expression, pose, both\) nor a strength"),
        ("1 pose 9", "a strength lies between 0 and 5"),
        ("1 pose nan", "a strength lies between 0 and 5"),
        ("remove 1.2 pose", "no pose keyframe within 0.3 s"),
        ("move 1.2", "takes two moments"),
        ("remove", "a moment is missing"),
        ("1 pose 1 please", "'please' is not understood"),
    ],
)
def test_what_cannot_be_understood_is_quoted(line, reason):
    with pytest.raises(PayloadError, match=f"Line 2, '{line}': .*{reason}"):
        change(some(), f"\n{line}")


def test_all_at_once_stronger_and_later():
    later = adjust(some(), expression=2, pose=0, shift=1)
    assert times(later, "expression") == [2.22, 4.5]
    assert times(later, "pose") == []
    assert float(later.strength["expression"].max()) == pytest.approx(4)
    assert times(adjust(some(), shift=-2), "pose") == [0.46, 1.5]
    assert times(adjust(some(), shift=60), "pose") == []


def test_no_keyframes_are_an_empty_list():
    assert as_text(none(some().timeline)) == ""
