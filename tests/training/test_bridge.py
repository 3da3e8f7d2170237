"""Fitting the bridge finds linear relations and reports held-out scores."""

import numpy as np
import torch
from soliloquy.models.motion.arkit import ARKIT52, INDEX
from soliloquy.training.bridge import (
    MOUTH_KEYPOINTS,
    TO_KEYPOINTS,
    UPPER_WEIGHTS,
    Clip,
    allowed,
    fit,
    fit_without_pulses,
    pairs,
    read_clips,
    save,
    table,
)


def write_pairs(path, clips=3, frames=80):
    random = np.random.default_rng(0)
    matrix = random.normal(size=(51, 63)) * 0.02 * allowed(reverse=False)[:51].numpy()
    stored = {"blendshape_names": np.array(["_neutral", *ARKIT52[:51]])}
    for clip in range(clips):
        weights = random.uniform(size=(frames, 52)) ** 2
        noise = random.normal(size=(frames, 63)) * 0.002
        stored[f"c{clip}_blendshapes"] = weights.astype(np.float32)
        stored[f"c{clip}_exp"] = (weights[:, 1:] @ matrix + noise + clip).reshape(frames, 21, 3)
    np.savez(path, **stored)


def test_a_linear_relation_is_found_and_reported(tmp_path):
    write_pairs(tmp_path / "pairs.npz")
    clips = read_clips(tmp_path / "pairs.npz")
    matrix = TO_KEYPOINTS.fit(pairs(clips[:2], reverse=False), allowed(reverse=False))
    guess = clips[2].weights @ matrix
    error = (guess - clips[2].offsets).square().sum() / clips[2].offsets.square().sum()
    assert error < 0.25
    assert matrix[-1].abs().max() == 0  # tongueOut is not tracked
    mouth = matrix.unflatten(1, (21, 3))[:, list(MOUTH_KEYPOINTS)]
    assert mouth[UPPER_WEIGHTS].abs().max() == 0
    rows = table(clips).splitlines()
    assert [row.split("|")[1].strip() for row in rows] == ["clip", "---", "c0", "c1", "c2", "mean"]


def test_a_leader_that_acts_alone_takes_the_movement_of_its_followers(tmp_path):
    write_pairs(tmp_path / "pairs.npz")
    clips = []
    for clip in read_clips(tmp_path / "pairs.npz"):
        weights, offsets = clip.weights.clone(), clip.offsets.clone()
        blink, down = INDEX["eyeBlinkLeft"], INDEX["eyeLookDownLeft"]
        weights[:, INDEX["eyeBlinkRight"]] = weights[:, down] = weights[:, blink]
        offsets[:, 3 * 11 + 1] = 0.03 * weights[:, blink]
        clips.append(Clip(clip.name, weights, offsets))
    blinking = torch.zeros(52).double()
    blinking[[INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]]] = 1
    closed = [(blinking @ way(clips)[0])[3 * 11 + 1] for way in (fit_without_pulses, fit)]
    assert closed[0] < 0.021  # of 0.03; the rest is the gaze's
    assert closed[1] > 0.023
    (there, back), (_, unled) = fit(clips), fit_without_pulses(clips)
    kept = [(blinking @ there @ matrix)[INDEX["eyeBlinkLeft"]] for matrix in (unled, back)]
    assert kept[1] > kept[0]


def test_both_directions_are_written_as_float32(tmp_path):
    from safetensors.torch import load_file

    write_pairs(tmp_path / "pairs.npz")
    save(read_clips(tmp_path / "pairs.npz"), tmp_path / "out" / "bridge.safetensors")
    tensors = load_file(tmp_path / "out" / "bridge.safetensors")
    assert {name: tuple(value.shape) for name, value in tensors.items()} == {
        "to_keypoints": (52, 63), "to_weights": (63, 52),
    }  # fmt: skip
    assert all(value.dtype == torch.float32 for value in tensors.values())
