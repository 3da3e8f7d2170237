"""KSDiff's recipe in small."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.ksdiff import PathDenoiser
from soliloquy.training import ksdiff
from soliloquy.training.ksdiff import REST, WINDOW, Windows, ksdiff_loss
from soliloquy.training.ksdiff_data import LIPS
from soliloquy.training.loop import read_log
from soliloquy.training.recipes import override

from .ksdiff_toys import SMALL, recipe, sessions, write


def test_a_few_steps_give_weights_that_load(tmp_path):
    recipe(write(tmp_path / "data")).run(tmp_path / "out")
    speech = checkpoints.load("ksdiff_speech", tmp_path / "out" / "ksdiff_speech.safetensors")
    motion = checkpoints.load("ksdiff_motion", tmp_path / "out" / "ksdiff_motion.safetensors")
    assert speech.config.width == 8
    data = torch.from_numpy(sessions().motion).float()
    torch.testing.assert_close(
        motion.path("pose").mean, data[..., 52:].mean((0, 1, 2)), atol=2e-3, rtol=0
    )
    assert [row["step"] for row in read_log(tmp_path / "out" / "log.csv")] == [2, 4]


def test_a_stopped_run_resumes_to_the_same_losses(tmp_path):
    data = write(tmp_path / "data")
    recipe(data).run(tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(step, *_):
        if step == 4:
            raise StoppedError

    with pytest.raises(StoppedError):  # behind the state of step 2
        recipe(data).run(tmp_path / "halves", stop)
    recipe(data).run(tmp_path / "halves")
    whole, halves = (read_log(tmp_path / name / "log.csv") for name in ("whole", "halves"))
    for a, b in zip(whole, halves, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {
            k: v for k, v in b.items() if k != "seconds"
        }
    files = [tmp_path / name / "ksdiff_motion.safetensors" for name in ("whole", "halves")]
    first, second = (checkpoints.read(file)[0] for file in files)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "changes",
    [
        ["speech.disentangled=false"],
        ["dual=false"],
        ["expression.keyframes=0", "pose.keyframes=0", "emphasis=0"],
        ["speech.prosody=false"],
        ["speech.transcript=false", "expression.transcript=false", "pose.transcript=false"],
    ],
)
def test_every_ablation_can_be_trained(tmp_path, changes):
    chosen = override(recipe(tmp_path), changes)
    (tmp_path / "train").mkdir()
    windows = Windows(chosen, sessions())
    network = ksdiff.build(chosen, sessions())
    value, parts = ksdiff_loss(network, windows.batch(0), chosen)
    value.backward()
    assert value.isfinite()
    assert ("both position" in parts) == (not chosen.dual)


def test_the_readout_of_the_lips_is_fitted_and_trusted_in_part(monkeypatch):
    monkeypatch.setattr(ksdiff, "RIDGE", 1e-6)
    torch.manual_seed(0)
    path = PathDenoiser(replace(SMALL, readout=True))
    heard = torch.randn(400, 8)
    wanted = torch.rand(400, 52)
    wanted[:, LIPS[0]] = 0.3 + 0.1 * heard[:, 2]
    ksdiff.fit_readout(path, heard, wanted, 0.6)
    said = path.restore(path.readout(heard))
    torch.testing.assert_close(said[:, LIPS[0]], wanted[:, LIPS[0]], atol=2e-3, rtol=0)
    assert path.trust[LIPS].tolist() == pytest.approx([0.6] * len(LIPS))
    assert float(path.trust.sum()) == pytest.approx(0.6 * len(LIPS))
    clean = path(torch.randn(1, 20, 52), torch.tensor([999]), heard[None, :20])
    expected = path.standardise(said[:20])  # the rest of the network still says 0
    torch.testing.assert_close(clean[0][:, LIPS], 0.6 * expected[:, LIPS], atol=1e-5, rtol=0)
    ksdiff.widen(path, LIPS, 1.5)
    assert path.deviation[LIPS[0]] == 1.5
    assert path.deviation[0] == 1.0


def test_batches_follow_from_their_number(tmp_path):
    (tmp_path / "train").mkdir()
    windows = Windows(recipe(tmp_path, batch=16), sessions())
    first, again, other = windows.batch(5), windows.batch(5), windows.batch(6)
    assert torch.equal(first.motion, again.motion)
    assert torch.equal(first.strength, again.strength)
    assert not torch.equal(first.motion, other.motion)
    assert first.features.shape == (16, 2 * WINDOW, 8)
    assert first.text.shape == first.times.shape


def test_windows_at_the_beginning_go_on_from_the_portrait_at_rest(tmp_path):
    (tmp_path / "train").mkdir()
    windows = Windows(recipe(tmp_path, from_rest=1.0), sessions())
    row = windows.window(np.random.default_rng(0))
    assert row["known"].sum() == REST
    assert not row["motion"][:REST].any()
    assert row["motion"][REST:].any()
    assert (row["features"][: 2 * REST : 2] == row["features"][2 * REST]).all()


def test_keyframes_are_dropped_moved_and_withheld(tmp_path):
    (tmp_path / "train").mkdir()
    marks = np.zeros((WINDOW, 2), np.float32)
    marks[10::10] = 1.5
    source = np.random.default_rng(0)

    def told(**changes):
        nothing = {"dropped_keyframes": 0.0, "moved_keyframes": 0.0, "without_keyframes": 0.0}
        windows = Windows(recipe(tmp_path, **{**nothing, **changes}), sessions())
        return windows.told(marks, source)

    assert np.array_equal(told(), marks)
    assert (told(without_keyframes=1.0) == -1).all()
    assert not told(dropped_keyframes=1.0).any()
    moved = told(moved_keyframes=1.0)
    assert not (moved * marks).any()
    assert (moved > 0).sum() == (marks > 0).sum()
