import sys

import pytest
import torch
from safetensors.torch import load_file
from soliloquy.models.motion.rig import LID_PAIRS, LIP_PAIRS, WEIGHTS, load_rig
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.portrait.mapping import mean_face
from soliloquy.training import rig as training
from soliloquy.training.anatomy import prior_basis

from ..helpers import shared


def face():
    return load_rig().mean_face.double()


def invented_clip(basis, frames=300):
    """A clip whose landmarks are exactly what `basis` says, on a face of its own."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(frames, 52, generator=generator, dtype=torch.float64)
    landmarks = face() * 1.1 + torch.einsum("tj,jkc->tkc", weights, basis)
    still = torch.zeros(frames, dtype=torch.float64)
    return training.Clip("invented", weights, landmarks, still, still)


def test_the_fit_finds_a_basis_that_differs_from_the_prior():
    truth = 1.3 * prior_basis()
    found = training.fit([invented_clip(truth)], face())
    fitted = [i for i in range(52) if i not in (8, 9, 26)]  # blinks and mouthClose are built
    stiff = [training.INDEX[name] for name in training.STIFF]
    free = [i for i in fitted if i not in stiff]
    torch.testing.assert_close(found[free], truth[free], atol=0.03, rtol=0)


def test_what_never_moves_is_the_prior():
    clip = invented_clip(prior_basis())
    quiet = training.Clip("still", 0 * clip.weights, clip.landmarks, clip.aperture, clip.width)
    found = training.fit([quiet], face())
    jaw = training.INDEX["jawOpen"]
    torch.testing.assert_close(found[jaw], prior_basis()[jaw], atol=1e-4, rtol=0)


def test_built_rows_touch_exactly():
    left, right = face() + training.blink_rows(face())
    for upper, lower in LID_PAIRS[2:]:
        torch.testing.assert_close(left[upper], left[lower])
    for upper, lower in LID_PAIRS[:2]:
        torch.testing.assert_close(right[upper], right[lower])
    opened = prior_basis()[training.INDEX["jawOpen"]]
    closed = opened + training.close_row(opened)
    for upper, lower in LIP_PAIRS:
        assert (closed[upper] - closed[lower]).abs().max() < 1e-9


def test_head_pose_is_removed_whatever_it_is():
    front = mean_face().double()
    turned = euler_to_matrix(torch.tensor([[5.0, 20.0, -10.0], [-8.0, -15.0, 12.0]]).double())
    points = 150 * front @ turned.mT + torch.tensor([300.0, 200.0, 0.0])
    aligned = training.remove_pose(points)
    torch.testing.assert_close(aligned, front.expand_as(aligned), atol=1e-5, rtol=0)


def test_the_command_makes_the_bundled_weights_again(tmp_path, monkeypatch, capsys):
    clips = shared("data/clips")
    arguments = ["rig", "--clips", str(clips), "-o", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    training.main()
    made, bundled = load_file(tmp_path / "rig.safetensors"), load_file(WEIGHTS)
    for name in ("basis", "mean_face"):
        torch.testing.assert_close(made[name], bundled[name], atol=1e-4, rtol=0)
    assert (tmp_path / "rig.md").read_text() == WEIGHTS.with_suffix(".md").read_text()
    assert "| mean |" in capsys.readouterr().out


def test_a_folder_without_clips_is_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rig", "--clips", str(tmp_path)])
    with pytest.raises(SystemExit) as error:
        training.main()
    assert error.value.code == 2
    assert "there is no *.npz" in capsys.readouterr().err
