"""Jumps where windows meet are seen in the frames' changes."""

import pytest
import torch
from soliloquy.models.render.identity_diffusion.renderer import (
    OVERLAP,
    IdentityDiffusionRenderer,
    windows,
)
from soliloquy.training.window_borders import at_borders, boxes, mouth_changes

from ..models.render.identity_diffusion.small import face, network, talking


def test_even_changes_are_nowhere_faster():
    found = at_borders(torch.ones(99))
    assert found["borders"] == len(windows(100)) - 1
    assert found["change"] == found["change while fading"] == pytest.approx(1)
    assert found["within 95 %"] == 1


def test_a_jump_at_every_border_shows():
    changes = torch.ones(499)
    starts = torch.tensor([start for start, _ in windows(500)[1:]])
    changes[starts - 1] = 3
    changes[7::15] = 4  # other frames are fast, too
    found = at_borders(changes)
    assert found["change"] > 2
    assert found["change"] > found["change while fading"] > 1
    changes[7::15] = 1
    changes[starts + OVERLAP - 1] = 9
    assert at_borders(changes)["within 95 % while fading"] < 1


def test_the_mouth_of_a_rendered_face_changes_while_it_talks_and_only_then():
    portrait = face()
    untrained = network()
    torch.nn.init.zeros_(untrained.leave.weight)  # it moves the portrait and paints nothing
    renderer = IdentityDiffusionRenderer(untrained, size=32, steps=2)
    moving = mouth_changes(renderer, portrait, talking(portrait, 5))
    resting = mouth_changes(renderer, portrait, talking(portrait, 5, still=True))
    assert len(moving) == 4
    assert moving.min() > 1
    assert not resting.any()


def test_boxes_hold_the_mouth_and_stay_in_the_picture():
    portrait = face()
    rows, columns = boxes(portrait, talking(portrait, 3))[1]
    mouth = portrait.landmarks[48:68]
    assert rows.start < mouth[:, 1].min()
    assert columns.stop > mouth[:, 0].max()
    assert min(rows.start, columns.start) >= 0
