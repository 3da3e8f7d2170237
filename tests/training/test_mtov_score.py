from dataclasses import asdict

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.training import mtov_score

from ..models.render.mtov.moving import networks
from .test_mtov import windows


@pytest.fixture
def folder(tmp_path):
    windows(2).save(tmp_path / "test_windows.safetensors")
    for name, part in networks(posed=True).items():
        checkpoints.save(part, tmp_path / f"mtov_{name}.safetensors", asdict(part.config))
    return tmp_path


def test_the_table_compares_what_is_drawn_with_the_pose(folder, capsys):
    sheet = folder / "sheet.png"
    mtov_score.main([str(folder), "--steps", "8", "--sheet", str(sheet)])
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["pose", "autoencoder", "landmarks", "sampled"]
    assert sheet.stat().st_size > 0


def test_errors_are_those_of_the_lower_face():
    given = windows(1)
    given.shown[:] = 0
    given.shown[:, :, 8:] = 255
    frames = torch.zeros(16, 3, 16, 16)
    found = frames.clone()
    found[:, :, :8] = 1.0
    assert mtov_score.errors_of(found, frames, given, 0) == [0, 0, 0]
    face, mouth, time = mtov_score.errors_of(frames + 0.1, frames, given, 0)
    assert face == pytest.approx(12.75)
    assert mouth == pytest.approx(12.75)
    assert time == pytest.approx(0.0)


def test_the_mouth_is_around_its_landmarks():
    landmarks = torch.full((1, 68, 2), 3.0)
    landmarks[0, 48], landmarks[0, 54] = torch.tensor([2.0, 5.0]), torch.tensor([4.0, 6.0])
    landmarks[0, 49:54] = landmarks[0, 55:68] = torch.tensor([3.0, 5.0])
    place = mtov_score.mouth_place(landmarks, 8)[0]
    assert place[5:7, 2:5].all()
    assert place.sum() == 6
