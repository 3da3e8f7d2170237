import csv
import json
from fractions import Fraction

import pytest
import torch
from soliloquy.models.motion.arkit import ARKIT52
from soliloquy.models.motion.files import read_motion, resample, write_motion
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.payloads import PayloadError, Timeline

from .examples import motion_of


def assert_same(first, second):
    assert first.timeline.fps == second.timeline.fps
    assert first.timeline.num_frames == second.timeline.num_frames
    for name in ("values", "rotation", "translation", "scale"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), atol=2e-5, rtol=0)


@pytest.fixture
def document(tmp_path):
    """A valid JSON document, to be spoilt."""
    write_motion(motion_of(4), tmp_path / "good.json")
    return json.loads((tmp_path / "good.json").read_text())


def spoilt(tmp_path, document):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("kind", ["json", "csv"])
@pytest.mark.parametrize(("frames", "fps"), [(1, 25), (50, 30), (120, "23.976"), (31, "59.94")])
def test_what_is_written_is_read_back(tmp_path, kind, frames, fps):
    fps = Timeline.for_frames(frames, fps).fps
    motion = motion_of(frames, fps)
    write_motion(motion, tmp_path / f"motion.{kind}")
    assert_same(read_motion(tmp_path / f"motion.{kind}"), motion)


def test_json_has_exactly_the_published_keys(tmp_path):
    motion = motion_of(3, Fraction(30000, 1001))
    write_motion(motion, tmp_path / "motion.json", landmarks=True)
    document = json.loads((tmp_path / "motion.json").read_text())
    assert list(document) == [
        "format", "version", "fps", "num_frames", "space", "names", "weights", "rotation_deg",
        "translation", "scale", "landmarks68",
    ]  # fmt: skip
    assert document["format"] == "soliloquy-motion"
    assert document["fps"] == [30000, 1001]
    assert document["names"] == list(ARKIT52)
    assert [len(document["weights"]), len(document["weights"][0])] == [3, 52]
    landmarks = torch.tensor(document["landmarks68"])
    torch.testing.assert_close(landmarks, load_rig().landmarks(motion.values), atol=1e-5, rtol=0)


def test_landmarks_are_left_out_unless_asked_for(document):
    assert "landmarks68" not in document


def test_blocks_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr("soliloquy.models.motion.files.BLOCK", 7)
    for kind in ("json", "csv"):
        write_motion(motion_of(20), tmp_path / f"motion.{kind}", landmarks=True)
        assert_same(read_motion(tmp_path / f"motion.{kind}"), motion_of(20))


def test_names_may_come_in_another_order(tmp_path, document):
    document["names"].reverse()
    document["weights"] = [row[::-1] for row in document["weights"]]
    assert_same(read_motion(spoilt(tmp_path, document)), motion_of(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "bvh"}, 'its "format" is not "soliloquy-motion"'),
        ({"version": 2}, "version 2; this release reads 1"),
        ({"space": "liveportrait"}, "'liveportrait', not in arkit52"),
        ({"fps": 25}, r'needs "fps" as \[numerator, denominator\]'),
        ({"fps": [0, 1]}, "0 frames per second"),
        ({"num_frames": 0}, "0 frames; at least 1"),
        ({"num_frames": 5}, '"weights" must be 5 × 52, but is 4 × 52'),
        ({"names": ["jawOpen"] * 52}, "names 52 weights and lacks browDownLeft"),
        ({"rotation_deg": [[0.0, 0.0, float("nan")]] * 4}, "not a finite number in frame 0"),
        ({"scale": [[1.0]] * 4}, '"scale" must be 4, but is 4 × 1'),
        ({"translation": "none"}, '"translation" must be lists of numbers'),
    ],
)
def test_spoilt_json_is_refused_saying_where(tmp_path, document, change, message):
    with pytest.raises(PayloadError, match=message):
        read_motion(spoilt(tmp_path, {**document, **change}))


def test_ragged_rows_are_refused(tmp_path, document):
    document["weights"][2] = document["weights"][2][:-1]
    with pytest.raises(PayloadError, match="all of one length"):
        read_motion(spoilt(tmp_path, document))


def test_files_that_are_not_motion_are_refused(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": ')
    picture = tmp_path / "picture.csv"
    picture.write_bytes(bytes(range(128, 256)))
    for path, message in (
        (broken, "not valid JSON"),
        (picture, "it is not text"),
        (tmp_path / "none.json", "cannot be read: No such file"),
        (tmp_path / "motion.bvh", r"read from .json or .csv, not from 'motion.bvh'"),
    ):
        with pytest.raises(PayloadError, match=message):
            read_motion(path)


def test_places_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(PayloadError, match="cannot be written: No such file"):
        write_motion(motion_of(), tmp_path / "nowhere" / "motion.json")
    with pytest.raises(PayloadError, match="written as .json or .csv"):
        write_motion(motion_of(), tmp_path / "motion.fbx")


def table(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_tables_of_other_programs_are_read(tmp_path):
    names = [name[0].upper() + name[1:] for name in reversed(ARKIT52)]
    row = [index / 100 for index in range(52)]
    path = table(tmp_path / "live.csv", ["Timecode", "BlendShapeCount", *names], [["0", 52, *row]])
    motion = read_motion(path, fps=60)
    torch.testing.assert_close(motion.values[0].flip(0), torch.tensor(row))
    assert motion.timeline.fps == 60
    assert "the head stays" in motion.notes[0]
    with pytest.raises(PayloadError, match='no column "seconds"'):
        read_motion(path)


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (["seconds", *ARKIT52[1:]], [0.02] + [0] * 51, "lacks the columns browDownLeft;"),
        (["seconds", *ARKIT52], [0.02] + ["x"] * 52, "line 2: 'browdownleft' is 'x'"),
        (["seconds", *ARKIT52], [0.02] + ["nan"] * 52, "is 'nan', not a finite number"),
        (["seconds", *ARKIT52], [0.02], "is missing, not a finite number"),
    ],
)
def test_spoilt_tables_are_refused_saying_where(tmp_path, header, row, message):
    with pytest.raises(PayloadError, match=message):
        read_motion(table(tmp_path / "bad.csv", header, [row]))


def test_a_table_with_gaps_in_time_is_refused(tmp_path):
    rows = [[second, *[0] * 52] for second in (0.02, 0.06, 0.5)]
    with pytest.raises(PayloadError, match="equal steps"):
        read_motion(table(tmp_path / "gaps.csv", ["seconds", *ARKIT52], rows))
    with pytest.raises(PayloadError, match="no rows"):
        read_motion(table(tmp_path / "empty.csv", ["seconds", *ARKIT52], []))


def test_resampling_looks_at_frame_centres():
    motion = motion_of(100, 25)
    half = resample(motion, Timeline.for_frames(50, "12.5"))
    middle = (motion.values[0::2] + motion.values[1::2]) / 2
    torch.testing.assert_close(half.values, middle)
    assert half.notes == ()
    double = resample(motion, Timeline.for_frames(200, 50))
    torch.testing.assert_close(double.values[2:-2].mean(), motion.values[1:-1].mean())


def test_the_same_clock_keeps_the_frames_and_says_what_it_cuts_or_holds():
    motion = motion_of(50, 25)
    longer = resample(motion, Timeline.for_sound(3 * 16000, 16000, 25))
    assert torch.equal(longer.values[:50], motion.values)
    assert torch.equal(longer.values[50:], motion.values[-1:].expand(25, 52))
    assert "last frame is held" in longer.notes[0]
    shorter = resample(motion, Timeline.for_sound(16000, 16000, 25))
    assert torch.equal(shorter.values, motion.values[:25])
    assert "left out" in shorter.notes[0]
