"""The command line, in this process: what it writes, and what it says about bad input."""

import json
import wave

import av
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from soliloquy.__main__ import main

from .helpers import ROOT, shared

LANDMARKS = str(ROOT / "assets" / "astronaut_landmarks.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small portrait and sounds good and bad."""
    from skimage.data import astronaut

    here = tmp_path_factory.mktemp("inputs")
    Image.fromarray(astronaut()).resize((96, 96)).save(here / "face.png")
    (here / "text.png").write_text("This is no picture.")
    (here / "text.wav").write_text("This is no sound.")
    (here / "broken.json").write_text("{")
    with wave.open(str(ROOT / "assets" / "demo.wav")) as source:
        voice = np.frombuffer(source.readframes(16000), np.int16) / np.float32(32768)
    sounds = {
        "voice": voice,
        "short": voice[4000:4800],
        "eight": np.stack([voice] * 8, 1),
        "empty": voice[:0],
        "silent": 0 * voice,
        "nan": np.where(np.arange(len(voice)) < 8000, voice, np.nan).astype(np.float32),
    }
    for name, samples in sounds.items():
        wavfile.write(here / f"{name}.wav", 16000, samples)
    return here


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs a command line (`@` stands for the folder of inputs): exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def call(line: str) -> tuple[int, str, str]:
        code = main([word.replace("@", f"{folder}/") for word in line.split()])
        return code, *capsys.readouterr()

    return call


def animate(options: str, portrait: str = "@face.png", sound: str = "@voice.wav") -> str:
    return f"animate {portrait} {sound} --landmarks {LANDMARKS} {options}"


def test_animate_writes_a_video_and_says_how_long_and_how_fast(run, tmp_path):
    code, out, err = run(animate("-o a.mp4 --fps 10 --device cpu"))
    assert code == 0
    assert out.startswith("a.mp4: 1.00 s, 10 frames at 10 fps, 96×96, made in ")
    assert "frames/s" in out
    assert "10/10" in err
    assert "frames/s" in err
    with av.open(str(tmp_path / "a.mp4")) as container:
        codecs = [stream.codec_context.name for stream in container.streams]
    assert codecs == ["h264", "aac"]


def test_demo_needs_no_arguments(run, tmp_path):
    code, out, _ = run("demo --fps 3")
    assert code == 0
    assert out.startswith("soliloquy_demo.mp4: 6.10 s, 19 frames")
    assert (tmp_path / "soliloquy_demo.mp4").stat().st_size > 10000


def test_motion_writes_the_documented_file(run, tmp_path):
    code, out, _ = run("motion @voice.wav -o m.json --fps 29.97 --landmarks")
    assert (code, out[:8]) == (0, "m.json: ")
    document = json.loads((tmp_path / "m.json").read_text())
    assert document["format"] == "soliloquy-motion"
    assert (document["version"], document["fps"], document["num_frames"]) == (1, [30000, 1001], 30)
    assert document["space"] == "arkit52"
    shapes = {
        "names": (52,),
        "weights": (30, 52),
        "rotation_deg": (30, 3),
        "translation": (30, 3),
        "scale": (30,),
        "landmarks68": (30, 68, 3),
    }
    for key, shape in shapes.items():
        assert np.shape(document[key]) == shape, key


def test_motion_leaves_the_landmarks_out_unless_asked(run, tmp_path):
    assert run("motion @voice.wav -o m.json")[0] == 0
    assert "landmarks68" not in json.loads((tmp_path / "m.json").read_text())


def test_the_same_seed_writes_the_same_motion(run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(f"motion @voice.wav -o {name}.json --seed {seed}")[0] == 0
    first, again, other = ((tmp_path / f"{name}.json").read_text() for name in "abc")
    assert first == again != other


def test_contact_sheet_shows_eight_poses_side_by_side(run, tmp_path):
    code, out, _ = run(f"contact-sheet @face.png -o sheet.png --landmarks {LANDMARKS}")
    assert (code, out) == (0, "sheet.png\n")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    height, width, _ = sheet.shape
    tiles = sheet.reshape(height, 8, width // 8, 3).swapaxes(0, 1)[:, : width // 8]
    changed = [np.abs(tile - tiles[0]).max() for tile in tiles[1:]]
    assert min(changed) > 20


def test_a_twentieth_of_a_second_makes_two_frames(run):
    code, out, _ = run(animate("-o a.mp4", sound="@short.wav"))
    assert code == 0
    assert "0.05 s, 2 frames" in out


def test_eight_channels_are_mixed_down(run):
    assert run("motion @eight.wav -o m.json")[0] == 0


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (animate("-o a.mp4", portrait="absent.png"), "no file 'absent.png'"),
        (animate("-o a.mp4", sound="absent.wav"), "no file 'absent.wav'"),
        (animate("-o a.mp4", portrait="@text.png"), "not a picture"),
        (animate("-o a.mp4", portrait="@voice.wav"), "not a picture"),
        (animate("-o a.mp4", sound="@text.wav"), "cannot be read as sound"),
        (animate("-o a.mp4", sound="@face.png"), "has no sound"),
        (animate("-o a.mp4", sound="@empty.wav"), "is empty"),
        (animate("-o a.mp4", sound="@silent.wav"), "is silent"),
        (animate("-o a.mp4", sound="@nan.wav"), "NaN or infinite samples from 0.50 s on"),
        (animate("-o a.mp4 --fps 0"), "0 frames per second"),
        (animate("-o a.mp4 --fps fast"), "'fast' is not a frame rate"),
        (animate("-o absent/a.mp4"), "'absent' does not exist"),
        (animate("-o ."), "must end in .mp4"),
        (animate("-o a.avi"), "must end in .mp4"),
        (animate("-o a.mp4 --motion nobody"), "no motion system called 'nobody'"),
        (animate("-o a.mp4 --renderer nothing"), "no render system called 'nothing'"),
        (animate("-o a.mp4 --device abacus"), "device 'abacus'"),
        (animate("-o a.mp4 --landmarks @broken.json"), "is not JSON"),
        (animate("-o a.mp4 --face-index 3"), "Face 3"),
        ("animate @face.png @voice.wav -o a.mp4 --face-landmarker absent.task", "absent.task"),
        ("motion @silent.wav -o m.json", "is silent"),
        ("motion @voice.wav -o m.txt", "must end in .json"),
        ("motion @voice.wav -o absent/m.json", "'absent' does not exist"),
        ("motion @voice.wav -o m.json --fps 121", "1 to 120"),
        (f"contact-sheet @text.png -o s.png --landmarks {LANDMARKS}", "not a picture"),
        (f"contact-sheet @face.png -o s.gif --landmarks {LANDMARKS}", "must end in .png"),
        ("demo -o absent/a.mp4", "'absent' does not exist"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(run, tmp_path, line, complaint):
    code, out, err = run(line)
    assert code == 2
    assert out == ""
    assert err.startswith("soliloquy: ")
    assert err.count("\n") == 1
    assert complaint in err
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_a_face_is_refused(run, tmp_path):
    pytest.importorskip("mediapipe")
    lawn, task = shared("data/portraits/no_face.jpg"), shared("models/face_landmarker.task")
    code, _, err = run(f"animate {lawn} @voice.wav -o a.mp4 --face-landmarker {task}")
    assert code == 2
    assert "No face found" in err
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_ends_with_130_and_no_file(run, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("soliloquy.__main__.ProgressBar.update", interrupt)
    code, _, err = run(animate("-o a.mp4"))
    assert code == 130
    assert err.endswith("Interrupted. Nothing was written.\n")
    assert list(tmp_path.iterdir()) == []


def test_errors_of_ours_are_not_hidden(run, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake in the program")

    monkeypatch.setattr("soliloquy.models.pipeline.read_sound", fail)
    with pytest.raises(RuntimeError, match="a mistake"):
        run("motion @voice.wav -o m.json")


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    for command in ("demo", "animate", "motion", "contact-sheet", "bench"):
        assert command in text


def test_a_benchmark_gets_the_options_that_it_takes_and_no_others(monkeypatch, tmp_path):
    from soliloquy.benchmarks import kdtalker

    given = {}
    monkeypatch.setattr(kdtalker, "measure", lambda **options: given.update(options) or {"x": 1})
    output = tmp_path / "numbers.json"
    arguments = ["bench", "kdtalker", "--json", str(output), "--device", "cpu", "--steps", "3"]
    assert main([*arguments, "--longest", "5"]) == 0
    assert given == {"device": "cpu", "steps": 3}
    assert json.loads(output.read_text()) == {"x": 1}


def test_absent_weights_are_named_before_anything_is_computed(tmp_path, capsys):
    arguments = ["demo", "-o", str(tmp_path / "out.mp4"), "--models", str(tmp_path)]
    assert main([*arguments, "--renderer", "liveportrait"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "soliloquy: 5 files are missing for 'liveportrait'."
    assert "  spade_generator.safetensors (222 MB, MIT)" in lines
    assert max(map(len, lines)) < 150
    assert main([*arguments, "--motion", "kdtalker"]) == 2
    assert "KDTalker.pth" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()
