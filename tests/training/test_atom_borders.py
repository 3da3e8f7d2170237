"""Borders are looked at wherever they fall, and a jump there is seen."""

import pytest
import torch
from soliloquy.models.motion.atom_motion import AToMMotion
from soliloquy.models.motion.atom_small import AToMSmall, AToMSmallConfig
from soliloquy.training.atom_borders import PLACES, at_borders, begun_at, measure

from ..models.motion.test_atom_motion import voice


def walk(frames=400, seed=0):
    random = torch.Generator().manual_seed(seed)
    return (0.01 * torch.randn(frames, 68, 3, generator=random)).cumsum(0)


def means(found):
    return {
        name: sum(step[0] for place, step in found if place == name)
        / sum(place == name for place, _ in found)
        for name in PLACES
    }


def test_an_even_walk_is_nowhere_faster_and_a_jump_is_seen_where_it_is():
    values = walk()
    assert all(
        speed == pytest.approx(1, abs=0.1) for speed in means(at_borders(values, 100)).values()
    )
    for border in (100, 184, 268):
        values[border:] += 0.02
    jumped = means(at_borders(values, 100))
    assert jumped["own"] > 1.5
    assert all(speed < 1.1 for name, speed in jumped.items() if name != "own")


def test_a_sound_that_is_begun_later_lacks_its_first_frames():
    speech = voice(2.0)
    later = begun_at(speech, 7)
    assert later.timeline.num_frames == 43
    assert torch.equal(later.streams["expression"], speech.streams["expression"][7:])


def test_every_start_and_seed_gives_its_borders():
    torch.manual_seed(0)
    network = AToMSmall(AToMSmallConfig(width=16, depth=1, frames=40)).requires_grad_(False)
    network.deviation.fill_(0.02)
    model = AToMMotion(network=network, gestures=False)
    found = measure(model, [voice(4.0)], starts=2, seeds=2)
    # 100 frames have three borders and the 88 after the second start two, with each seed.
    assert len(found["own"].speeds) == 10
    assert set(found["own"].calm.tolist()) <= {0.0, 1.0}
    assert "borders, speed" in found["own"].row()
