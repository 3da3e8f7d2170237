"""The autoregressive keyframe predictor."""

import torch
from soliloquy.models.keyframes.predictor import (
    BEGIN,
    KeyframePredictor,
    KeyframePredictors,
    PredictorConfig,
    build,
)

SMALL = PredictorConfig(speech=6, width=8, heads=2, layers=2, dilations=(1, 2), horizon=7)


def network() -> KeyframePredictor:
    torch.manual_seed(0)
    made = KeyframePredictor(SMALL).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.4)
    return made


def example(frames: int, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    speech, text = torch.randn(2, batch, frames, SMALL.speech, generator=generator)
    previous = torch.randint(0, 2, (batch, frames), generator=generator)
    previous[:, 0] = BEGIN
    return speech, previous, text


@torch.no_grad()
def test_marks_change_only_what_comes_after_them():
    speech, previous, text = example(30)
    other = previous.clone()
    other[:, 12] = 1 - other[:, 12]
    one, two = (network()(speech, marks, text) for marks in (previous, other))
    torch.testing.assert_close(one[:, :12], two[:, :12])
    assert not torch.allclose(one[:, 12], two[:, 12])


@torch.no_grad()
def test_speech_is_heard_before_its_frame():
    speech, previous, text = example(30)
    other = speech.clone()
    other[:, 12] += 2
    one, two = (network()(heard, previous, text) for heard in (speech, other))
    changed = (one != two).any(0).nonzero()[:, 0]
    assert changed.min() == 12 - SMALL.reach


@torch.no_grad()
def test_frame_by_frame_gives_what_all_at_once_gives():
    made, (speech, previous, text) = network(), example(40)
    seen, memory, biases = made.look(speech, text), None, made.biases()
    memory, found = made.empty_memory(2, seen), []
    for frame in range(40):
        logits, memory = made.step(seen[:, frame], previous[:, frame], memory, biases)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, 1), made(speech, previous, text))
    assert memory[0][0].shape[2] <= SMALL.horizon


def test_all_parameters_learn():
    speech, previous, text = example(30)
    made = network()
    made(speech, previous, text).square().sum().backward()
    assert not [name for name, p in made.named_parameters() if p.grad is None]


def test_both_paths_travel_in_one_file():
    config = PredictorConfig(speech=6, width=8, heads=2, layers=2, horizon=7)
    state = KeyframePredictors(config).state_dict()
    assert build(state, {}).config == config
    assert "paths.pose.out.weight" in state
    assert "paths.expression.out.weight" in state
