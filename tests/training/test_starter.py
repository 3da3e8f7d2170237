"""The starter's recipe in small."""

import itertools
import random

import torch
from soliloquy.models.motion import starter as motion
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.motion.rig import load_rig
from soliloquy.models.speech import starter as speech
from soliloquy.training.loop import LoopConfig
from soliloquy.training.speech_data import collate, crop
from soliloquy.training.starter import (
    Starter,
    StarterRecipe,
    correlation,
    lip_gauges,
    restore_contrast,
    save,
    train_starter,
)
from soliloquy.training.visemes import LIP_CHANNELS

from .test_speech_data import spoken

SMALL = StarterRecipe(
    speech=speech.StarterSpeechConfig(width=16, dilations=(1, 2), features=8),
    loop=LoopConfig(steps=3, warmup=1, log_every=3),
    batch=2,
)


def test_a_few_steps_give_weights_that_load(tmp_path):
    log = []
    network = train_starter({"x": [spoken()]}, SMALL, lambda step, parts, _: log.append(parts))
    save(network, tmp_path, SMALL)
    encoder = speech.load(path=tmp_path / "starter_speech.safetensors")
    lips = motion.load(path=tmp_path / "starter_motion.safetensors")
    assert encoder.network.config == SMALL.speech
    assert lips.network.config.channels == LIP_CHANNELS
    assert set(log[0]) >= {"weights", "track", "miss", "phones"}


def test_gauges_measure_what_the_rig_shows():
    rig, gauges = load_rig(), lip_gauges()
    weights = torch.zeros(1, len(INDEX))
    weights[0, [INDEX[name] for name in LIP_CHANNELS]] = torch.linspace(
        0.05, 0.3, len(LIP_CHANNELS)
    )
    weights[0, INDEX["mouthClose"]] = 0.0
    moved = rig.offsets(weights)[0]
    gap, width = moved[66, 1] - moved[62, 1], moved[54, 0] - moved[48, 0]
    channels = weights[0, [INDEX[name] for name in LIP_CHANNELS]]
    assert abs(float(torch.corrcoef(torch.stack([gauges[:, 0], gauges[:, 0]]))[0, 1]) - 1) < 1e-6
    ratio = (channels @ gauges) / torch.stack([gap, width])
    jaw = torch.zeros(1, len(INDEX))
    jaw[0, INDEX["jawOpen"]] = 0.5
    opened = rig.offsets(jaw)[0]
    unit = gauges[LIP_CHANNELS.index("jawOpen"), 0] * 0.5 / (opened[66, 1] - opened[62, 1])
    torch.testing.assert_close(ratio[0], unit, atol=1e-3, rtol=1e-3)


def test_contrast_widens_movements_and_keeps_their_mean():
    torch.manual_seed(0)
    network = Starter(SMALL.speech)
    batch = collate([crop([spoken()], random.Random(0), True)], clean=True)
    before = network(batch.seen)[0].detach()
    restore_contrast(network, itertools.repeat(batch), 1.5)
    after = network(batch.seen)[0].detach()
    torch.testing.assert_close(after.mean(1), before.mean(1))
    torch.testing.assert_close(after.std(1), 1.5 * before.std(1))


def test_correlation_is_pearsons():
    a = torch.randn(3, 50, 2, generator=torch.Generator().manual_seed(0))
    assert float((correlation(a, 2 * a + 1) - 1).abs().max()) < 1e-2
    assert float((correlation(a, -a) + 1).abs().max()) < 1e-2
    assert float(correlation(a, torch.zeros_like(a)).abs().max()) < 1e-5
