"""What happens to a clean synthetic voice, so that real recordings hold no surprise.

All functions work on batches of torch tensors; sound is `[B, S]` at 16 kHz, log-mel `[B, T, 80]`
the natural logarithm of power.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SAMPLE_RATE = 16000


def uniform(low: float, high: float, *shape: int) -> Tensor:
    """Random numbers between `low` and `high`."""
    return torch.rand(*shape) * (high - low) + low


def chance(probability: float, *shape: int) -> Tensor:
    """Ones with this probability, zeros otherwise."""
    return (torch.rand(*shape) < probability).float()


def reverberate(sound: Tensor, probability: float = 0.5) -> Tensor:
    """Convolve with a made-up room: a direct path and noise that dies away in 0.1 to 0.7 s."""
    batch, samples = sound.shape
    length = 8000
    time = torch.arange(length) / SAMPLE_RATE
    decay = torch.exp(-6.9 * time / uniform(0.1, 0.7, batch, 1))
    room = torch.randn(batch, length) * decay * (time > uniform(0.001, 0.01, batch, 1))
    energy = room.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-6)
    direct_to_reverb = 10 ** (uniform(-2, 15, batch, 1) / 20)
    room = room / energy / direct_to_reverb * chance(probability, batch, 1)
    room[:, 0] = 1.0
    size = samples + length
    wet = torch.fft.irfft(torch.fft.rfft(sound, size) * torch.fft.rfft(room, size), size)
    return wet[:, :samples]


def coloured_noise(batch: int, samples: int) -> Tensor:
    """Noise whose power falls by 0 to 8 dB an octave, of unit power: hiss to rumble."""
    spectrum = torch.fft.rfft(torch.randn(batch, samples))
    frequency = torch.arange(spectrum.shape[1]).clamp(min=samples // 200)
    slope = uniform(0, 1.3, batch, 1)
    noise = torch.fft.irfft(spectrum * frequency[None] ** -slope, samples)
    return noise / noise.std(-1, keepdim=True)


def tones(batch: int, samples: int) -> Tensor:
    """Music of a kind: chords of three decaying notes, new every half second, of unit power."""
    notes, step = 3, SAMPLE_RATE // 2
    count = samples // step + 1
    pitch = 110 * 2 ** (torch.randint(0, 37, (batch, notes, count)) / 12)
    pitch = pitch.repeat_interleave(step, -1)[..., :samples]
    phase = 2 * torch.pi * pitch.cumsum(-1) / SAMPLE_RATE
    decay = torch.exp(-3.0 * (torch.arange(samples) % step) / SAMPLE_RATE)
    music = sum((harmonic * phase).sin() / harmonic for harmonic in (1, 2, 3, 5)).sum(1) * decay
    return music / music.std(-1, keepdim=True)


def add_noise(sound: Tensor, probability: float = 0.85) -> Tensor:
    """Mix in hiss, other voices or music, between hardly audible and 3 dB below the voice."""
    batch, samples = sound.shape
    power = sound.square().mean(-1, keepdim=True).sqrt().clamp(min=0.003)
    babble = sound.roll(1, 0) + sound.roll(2, 0).flip(-1) * uniform(0, 1, batch, 1)
    babble = babble / babble.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-3)
    kind = torch.multinomial(torch.tensor([0.6, 0.2, 0.2]), batch, True)
    noise = babble.clone()
    for index, make in ((0, coloured_noise), (2, tones)):
        chosen = kind == index
        if chosen.any():
            noise[chosen] = make(int(chosen.sum()), samples)
    quiet = uniform(0, 1, batch, 1)
    below = torch.where(kind[:, None] == 1, 8 + 22 * quiet, 3 + 42 * quiet)
    return sound + noise * power * 10 ** (-below / 20) * chance(probability, batch, 1)


def equalise(mel: Tensor) -> Tensor:
    """A random smooth frequency response, sometimes a telephone's or an MP3's band limits."""
    batch, _, bins = mel.shape
    knots = torch.randn(batch, 1, 7) * uniform(0, 1.0, batch, 1, 1)
    curve = functional.interpolate(knots, bins, mode="linear", align_corners=True)
    bin_index = torch.arange(bins)
    low = torch.where(torch.rand(batch) < 0.2, uniform(0, 7, batch), torch.zeros(batch))
    high = torch.where(torch.rand(batch) < 0.3, uniform(50, 80, batch), torch.full((batch,), 99.0))
    outside = (bin_index < low[:, None]).float() + (bin_index > high[:, None]).float()
    return mel + curve - 9 * outside[:, None]


def warp_tract(mel: Tensor, amount: float = 0.14) -> Tensor:
    """Vocal tract length perturbation: stretch the frequency axis by a random factor."""
    batch, frames, bins = mel.shape
    factor = 1 + uniform(-amount, amount, batch, 1)
    position = torch.arange(bins, dtype=torch.float32)[None]
    bend = 0.8 * bins  # above, the axis runs back to its end
    slope = (bins - 1 - bend * factor) / (bins - 1 - bend)
    source = torch.where(
        position < bend, position * factor, bend * factor + (position - bend) * slope
    )
    source = source.clamp(0, bins - 1.001)
    below = source.long()
    share = (source - below)[:, None]
    gather = below[:, None].expand(batch, frames, bins)
    return mel.gather(2, gather) * (1 - share) + mel.gather(2, gather + 1) * share


def blur(mel: Tensor, probability: float = 0.2) -> Tensor:
    """Smear the spectrum over five bins, as breathy and high voices do to their harmonics."""
    batch, frames, bins = mel.shape
    power = mel.exp().reshape(batch * frames, 1, bins)
    wide = functional.avg_pool1d(power, 5, 1, 2, count_include_pad=False)
    share = uniform(0.3, 1.0, batch, 1, 1) * chance(probability, batch, 1, 1)
    return (power.view_as(mel) * (1 - share) + wide.view_as(mel) * share + 1e-12).log()


def compress(mel: Tensor, amount: float = 0.5) -> Tensor:
    """What a dynamic range compressor, or an expander, does to the log-mel spectrum."""
    batch = mel.shape[0]
    level = mel.exp().mean(-1, keepdim=True).log()
    smooth = functional.avg_pool1d(level.transpose(1, 2), 9, 1, 4).transpose(1, 2)
    loud = level.amax(1, keepdim=True)
    ratio = uniform(-0.2, amount, batch, 1, 1) * chance(0.5, batch, 1, 1)
    return mel + (loud - smooth).clamp(0, 8) * ratio * 0.7


def mask(seen: Tensor) -> Tensor:
    """SpecAugment (Park et al. 2019): a band and a few short moments go blank."""
    batch, frames, bins = seen.shape
    keep = torch.ones(batch, frames, bins)
    for row in range(batch):
        if torch.rand(()) < 0.4:
            start, width = torch.randint(0, bins - 12, ()), torch.randint(2, 12, ())
            keep[row, :, start : start + width] = 0
        for _ in range(int(torch.randint(0, 3, ()))):
            start, width = torch.randint(0, frames, ()), torch.randint(2, 16, ())
            keep[row, start : start + width] = 0
    return seen * keep
