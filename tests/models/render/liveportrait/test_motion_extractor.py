"""The motion extractor gives the golden heads."""

import torch
from soliloquy.models import checkpoints
from soliloquy.models.render.liveportrait.motion_extractor import HEADS, MotionExtractor

from ....pseudo_weights import picture
from .parity import error, golden, network, published


def test_heads_are_the_golden_ones():
    with torch.no_grad():
        heads = network("motion")(picture())
    assert list(heads) == list(HEADS)
    for name, head in heads.items():
        assert error(head, golden(f"M_{name}")) < 1e-5, name


def test_half_precision_files_with_another_prefix_load_too():
    state = {f"module.{key}": value.half() for key, value in published("motion").items()}
    loaded = checkpoints.load("liveportrait/motion", state)
    assert loaded.heads["exp"].weight.dtype == torch.float32


def test_pictures_of_a_batch_do_not_see_each_other():
    torch.manual_seed(0)
    network = MotionExtractor(depths=(1, 1, 1, 1), widths=(4, 4, 8, 8)).eval()
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both, second = network(pictures), network(pictures[1:])
    for name in HEADS:
        torch.testing.assert_close(both[name][1:], second[name])
