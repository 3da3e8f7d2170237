"""Keyframe learning in small."""

import numpy as np
import torch
from soliloquy.models import checkpoints
from soliloquy.models.keyframes.predictor import KeyframePredictors, PredictorConfig
from soliloquy.training import ksdiff_keyframes as kel
from soliloquy.training.ksdiff import KSDiffRecipe
from soliloquy.training.loop import LoopConfig

from .ksdiff_toys import recipe, sessions, write

SMALL = PredictorConfig(speech=8, width=8, heads=2, layers=1, dilations=(1,), horizon=10)


def test_marks_are_kept_beside_the_data_and_read_again(tmp_path):
    data = sessions()
    found = kel.mark_sessions(data, tmp_path)
    assert (found > 0).any((0, 1, 2)).all()
    kept = np.load(tmp_path / "marks.npy")
    kept[:] = 7
    np.save(tmp_path / "marks.npy", kept)
    assert (kel.mark_sessions(data, tmp_path) == 7).all()
    assert not (kel.mark_sessions(sessions(2), tmp_path) == 7).any()  # those of other data


def test_a_few_steps_give_predictors_with_the_rate_of_the_data(tmp_path):
    chosen: KSDiffRecipe = recipe(write(tmp_path / "data"))
    chosen.run(tmp_path / "out")
    loop = LoopConfig(steps=2, warmup=1, log_every=1, save_every=2)
    small = {"predictor": SMALL, "loop": loop, "batch": 2, "window": 60, "sessions": 3, "rounds": 1}
    speech = tmp_path / "out" / "ksdiff_speech.safetensors"
    kel.KeyframeRecipe(data=chosen.data, speech=speech, **small).run(tmp_path / "out")
    network = checkpoints.load(
        "ksdiff_keyframes", tmp_path / "out" / "ksdiff_keyframes.safetensors"
    )
    marks = np.load(chosen.data / "train" / "marks.npy") > 0
    for index, path in enumerate(kel.PATHS):
        rate = float(network.path(path).rate)
        assert abs(rate - 25 * marks[..., index].mean()) < 0.01 * rate


def test_targets_are_soft_beside_keyframes():
    marks = torch.zeros(1, 7, dtype=torch.bool)
    marks[0, 3] = True
    assert kel.softened(marks).tolist() == [[0, 0, 0.5, 1, 0.5, 0, 0]]


def test_the_loss_falls_where_speech_tells_the_keyframes():
    torch.manual_seed(0)
    marks = torch.rand(8, 60) < 0.1
    streams = torch.zeros(8, 3, 60, 8)
    streams[:, :2, :, 0] = 3 * marks[:, None].float()
    batch = kel.Batch(
        streams=streams,
        marks=marks[..., None].expand(-1, -1, 2),
        before=torch.full((8, 2), 2),
    )
    network = KeyframePredictors(SMALL)
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    values = []
    for _ in range(40):
        value, _ = kel.keyframe_loss(network, batch, 0.15)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.6 * values[0]
