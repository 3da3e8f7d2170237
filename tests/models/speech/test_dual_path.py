"""The dual-path speech encoder."""

from dataclasses import replace

import pytest
import torch
from soliloquy.models.speech.dual_path import (
    DualPathConfig,
    DualPathSpeech,
    Heard,
    build,
    prosody_channels,
)

SMALL = DualPathConfig(
    inputs=12, width=16, heads=2, groups=4, dilations=(1, 3), long=10, mid=6, long_reach=8,
    mid_reach=6, short_reach=4, text_reach=8,
)  # fmt: skip


def network(config: DualPathConfig = SMALL) -> DualPathSpeech:
    torch.manual_seed(1)
    made = DualPathSpeech(config).eval()
    for weights in made.parameters():  # so that what starts at zero counts too
        torch.nn.init.normal_(weights, std=0.3)
    return made


def sound(features: int, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(batch, features, SMALL.inputs, generator=generator),
        torch.randn(batch, features, 2, generator=generator),
    )


@pytest.mark.parametrize("features", [2, 8, 50, 202])
@torch.no_grad()
def test_every_pair_of_features_becomes_a_frame_of_each_stream(features):
    heard = network()(*sound(features, batch=2))
    assert {stream.shape for stream in heard} == {(2, features // 2, 16)}


@torch.no_grad()
def test_a_piece_with_its_surroundings_gives_what_the_whole_gives():
    made, (features, prosody) = network(), sound(400)
    whole = made(features, prosody)
    grid, reach = SMALL.grid, SMALL.reach
    margin = -(-reach // grid) * grid
    start, stop = 5 * grid, 8 * grid
    piece = slice(start - margin, stop + margin)
    part = made(features[:, piece], prosody[:, piece])
    for one, all_of_it in zip(part, whole, strict=True):
        kept = one[:, margin // 2 : (margin + stop - start) // 2]
        torch.testing.assert_close(kept, all_of_it[:, start // 2 : stop // 2])


@torch.no_grad()
def test_what_is_further_away_than_the_reach_changes_nothing():
    made, (features, prosody) = network(), sound(200)
    other = features.clone()
    other[:, 100:] *= -1
    before, after = made(features, prosody), made(other, prosody)
    untouched = (100 - SMALL.reach) // 2
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(one[:, :untouched], two[:, :untouched])
    assert not torch.allclose(before.pose[:, 49], after.pose[:, 49])


@torch.no_grad()
def test_prosody_moves_the_expression_and_not_the_pose():
    made, (features, prosody) = network(), sound(60)
    quiet, loud = made(features, prosody), made(features, prosody + 1)
    torch.testing.assert_close(quiet.pose, loud.pose)
    assert not torch.allclose(quiet.expression, loud.expression)


@torch.no_grad()
def test_the_pose_hears_slow_things_and_the_expression_fast_ones():
    made = network()
    impulse = torch.zeros(1, 80, SMALL.width)
    impulse[:, 40] = 1

    def width(stream: torch.Tensor) -> int:
        return int((stream[0].abs().sum(-1) > 1e-6).sum())

    pooled = [part.at_frames(part.pool(impulse), 40) for part in (made.long, made.mid, made.short)]
    long, mid, short = (width(tokens) for tokens in pooled)
    assert long > mid > short == 1


@torch.no_grad()
def test_frames_hear_the_characters_that_are_near():
    made, (features, prosody) = network(), sound(120)
    text = torch.tensor([[3, 4, 5, 6, 7, 0]])
    times = torch.tensor([[2.0, 4.0, 40.0, 50.0, 56.0, 0.0]])
    other = torch.tensor([[3, 4, 5, 9, 7, 0]])
    said, otherwise = (made(features, prosody, codes, times).text for codes in (text, other))
    torch.testing.assert_close(said[:, :30], otherwise[:, :30])
    assert not torch.allclose(said[:, 50], otherwise[:, 50])


@torch.no_grad()
def test_nothing_written_down_is_one_learned_row():
    made, (features, prosody) = network(), sound(40)
    without = made(features, prosody).text
    torch.testing.assert_close(without, without[:, :1].expand_as(without))
    padding = made(features, prosody, torch.zeros(1, 6, dtype=torch.int64)).text
    torch.testing.assert_close(padding, without)


@torch.no_grad()
def test_the_switches_of_the_ablations():
    features, prosody = sound(40)
    both = network(replace(SMALL, disentangled=False))(features, prosody)
    assert torch.equal(both.pose, both.expression)
    without = network(replace(SMALL, prosody=False))
    assert torch.equal(without(features, prosody)[1], without(features, prosody + 1)[1])
    text = torch.ones(1, 4, dtype=torch.int64)
    silent = network(replace(SMALL, transcript=False))(features, prosody, text)
    assert not silent.text.any()


def test_all_parameters_learn():
    made, (features, prosody) = network(), sound(60)
    heard: Heard = made(features, prosody, torch.randint(1, 40, (1, 20)))
    sum(stream.square().sum() for stream in heard).backward()
    assert not [name for name, p in made.named_parameters() if p.grad is None]


@pytest.mark.parametrize("switches", [{}, {"disentangled": False, "transcript": False}])
def test_sizes_are_read_off_the_weights(switches):
    config = DualPathConfig(inputs=40, width=64, **switches)
    state = DualPathSpeech(config).state_dict()
    assert build(state, {}).config == config


def test_prosody_is_relative_to_the_voice_and_known_everywhere():
    energy = torch.full((6, 1), 0.7)
    low = torch.tensor([0.0, 100, 0, 0, 130, 0])[:, None]
    channels = prosody_channels(energy, low)
    torch.testing.assert_close(channels, prosody_channels(energy, 2 * low))
    torch.testing.assert_close(channels[:, 0], torch.ones(6))
    pitch = channels[:, 1]
    assert (pitch[1:5].diff() > 0).all()
    assert pitch[0] == pitch[1]
    assert pitch[5] == pitch[4]


def test_a_sound_without_a_voice_has_a_level_pitch():
    channels = prosody_channels(torch.zeros(5, 1), torch.zeros(5, 1))
    assert not channels[:, 1].any()
