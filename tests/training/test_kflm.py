"""The recipe draws faces and feelings from sessions, and learns from them."""

import numpy as np
import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.dual_domain import EMOTIONS, DualDomain, DualDomainConfig
from soliloquy.models.motion.rig import load_rig
from soliloquy.training.kflm import (
    ABLATIONS,
    NEUTRAL,
    ATLDiffMotion,
    Faces,
    KFLMRecipe,
    borders,
    draw_batch,
    emotion_weights,
    evaluate,
)
from soliloquy.training.ksdiff_data import LIPS, Sessions
from soliloquy.training.loop import LoopConfig


def sessions(count=2, frames=80):
    random = np.random.default_rng(0)
    motion = np.zeros((count, 3, frames, 59), np.float16)
    wave = (np.sin(np.arange(frames) / 3) * 0.5 + 0.5).astype(np.float16)
    motion[..., LIPS] = 0.3 * wave[:, None]
    features = random.standard_normal((count, 2 * frames, 12)).astype(np.float16)
    features[..., 0] = np.repeat(wave, 2)
    return Sessions(
        features=features,
        prosody=np.zeros((count, 2 * frames, 2), np.float16),
        motion=motion,
        text=np.zeros((count, 1), np.uint8),
        times=np.zeros((count, 1), np.float32),
        frames=np.full(count, frames),
    )


def recipe(**changes):
    network = DualDomainConfig(
        inputs=12, width=16, heads=2, layers=1, reach=4, recurrent=8, curves=6
    )
    loop = LoopConfig(steps=30, learning_rate=1e-2, warmup=5, log_every=10)
    return KFLMRecipe(**{"network": network, "loop": loop, "batch": 2, "frames": 20, **changes})


def test_a_batch_depends_on_its_number_alone():
    faces = Faces(load_rig())
    first, again, other = (draw_batch(sessions(), recipe(), faces, n) for n in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["features"], other["features"])
    assert first["features"].shape == (2, 40, 12)
    assert first["offsets"].shape == (2, 20, 68, 3)


def test_faces_differ_and_have_their_unit_between_the_eyes():
    faces, generator = Faces(load_rig()), torch.Generator().manual_seed(0)
    drawn = torch.stack([faces.draw(generator) for _ in range(50)])
    assert drawn.std(0).mean() > 0.01
    assert (drawn[:, 45] - drawn[:, 36]).norm(dim=-1).mean() == pytest.approx(1, abs=0.03)


def test_every_emotion_but_neutral_moves_the_face():
    faces, rest = Faces(load_rig()), load_rig().mean_face
    moved = [faces.offsets(torch.zeros(1, len(LIPS)), i, rest).abs().max() for i in range(8)]
    assert moved[NEUTRAL] == 0
    assert min(moved[:NEUTRAL]) > 0.02
    assert set(EMOTIONS) == {name for name in EMOTIONS if emotion_weights(name) is not None}


def test_training_lowers_the_error_and_leaves_a_file_that_loads(tmp_path, monkeypatch):
    from soliloquy.training import kflm

    monkeypatch.setattr(kflm, "read_sessions", lambda folder: sessions())
    log = []
    recipe().run(tmp_path, lambda step, means, network: log.append(means["loss"]))
    assert log[-1] < log[0]
    network = checkpoints.load("atl_diff_landmarks", tmp_path / "atl_diff_landmarks.safetensors")
    found = evaluate(network, sessions())
    assert 0 < found["LMD"] < 10


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_is_a_network_that_learns(name, monkeypatch):
    from dataclasses import replace

    loop = LoopConfig(steps=2, warmup=1, log_every=1)
    variant = recipe(network=replace(recipe().network, **ABLATIONS[name]), loop=loop)
    network = variant.train(sessions())
    assert evaluate(network, sessions(), count=1)["M-LMD"] > 0


def test_borders_of_seconds_apart_are_told_from_a_whole():
    torch.manual_seed(0)
    model = ATLDiffMotion(network=DualDomain(recipe().network).eval())
    ramp = torch.linspace(-1, 1, 300)[:, None].expand(300, 12)  # recurrent layers start anew
    found = borders(model, ramp + 0.01 * torch.randn(300, 12))
    assert found["whole, within 95 %"] >= 0.8
    assert found["apart, speed"] > 2 * found["whole, speed"]
