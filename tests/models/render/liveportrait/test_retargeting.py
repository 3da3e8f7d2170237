"""The small networks give the golden numbers from every published file."""

import pytest
import torch
from safetensors.torch import save_file
from soliloquy.models import checkpoints
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.render.liveportrait.retargeting import (
    eye_ratios,
    lip_ratio,
    retarget,
    stitch,
)

from ....pseudo_weights import given
from .parity import KEYS, error, golden, network, published

SMALL = {"stitching": 126, "retarget_lip": 65, "retarget_eye": 66}


@pytest.mark.parametrize("name", SMALL)
def test_outputs_are_the_golden_ones(name):
    tag = KEYS[name][0]
    found = network(name)(given(tag, (3, SMALL[name]), 0.3))
    assert error(found, golden(tag)) < 1e-5


@pytest.mark.parametrize("kind", ["original", "flattened"])
def test_the_three_are_found_in_one_file(kind, tmp_path):
    parts = {KEYS[name][1]: published(name) for name in SMALL}
    if kind == "original":
        file = tmp_path / "all.pth"
        nested = {
            part: {f"module.{key}": value for key, value in state.items()}
            for part, state in parts.items()
        }
        torch.save({**nested, "epoch": 3}, file)
    else:
        file = tmp_path / "all.safetensors"
        save_file(
            {
                f"{part}_module.{key}": v
                for part, state in parts.items()
                for key, v in state.items()
            },
            file,
        )
    for name in SMALL:
        loaded = checkpoints.load(f"liveportrait/{name}", file).state_dict()
        for key, value in network(name).state_dict().items():
            assert torch.equal(loaded[key], value)


def test_one_of_the_three_is_not_taken_for_another():
    with pytest.raises(CheckpointError, match="does not fit its network"):
        checkpoints.load("liveportrait/stitching", published("retarget_lip"))


def test_ratios_are_the_golden_ones():
    landmarks = golden("lmk203", "misc")[None]
    torch.testing.assert_close(
        eye_ratios(landmarks), golden("eye_ratio", "misc"), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(lip_ratio(landmarks), golden("lip_ratio", "misc"), rtol=1e-4, atol=0)


def test_ratios_of_68_landmarks_are_height_over_width():
    points = torch.zeros(1, 68, 3)
    points[0, 39, 0] = points[0, 45, 0] = points[0, 64, 0] = 10.0
    points[0, [37, 38], 1], points[0, [40, 41], 1] = 3.0, 7.0
    points[0, 66, 1] = 5.0
    torch.testing.assert_close(eye_ratios(points), torch.tensor([[0.4, 0.0]]), atol=1e-4, rtol=0)
    torch.testing.assert_close(lip_ratio(points), torch.tensor([[0.5]]), atol=1e-4, rtol=0)


def test_stitching_and_retargeting_move_what_they_should():
    source, driving = given("a", (1, 21, 3), 0.2), given("b", (2, 21, 3), 0.2)
    change = torch.arange(65.0)
    moved = stitch(lambda x: change.expand(len(x), 65), source, driving) - driving
    expected = change[:63].reshape(21, 3) + torch.tensor([63.0, 64.0, 0.0])
    torch.testing.assert_close(moved, expected.expand(2, -1, -1), atol=1e-4, rtol=0)
    seen = []
    ratios = torch.tensor([[0.1, 0.4], [0.1, 0.0]])
    retarget(lambda x: seen.append(x) or torch.zeros(2, 63), source, ratios)
    assert torch.equal(seen[0][:, :63], source.flatten(1).expand(2, -1))
    assert torch.equal(seen[0][:, 63:], ratios)
