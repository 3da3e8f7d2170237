"""A small generator with random weights, and sounds for it."""

from dataclasses import asdict

import torch
from soliloquy.models import checkpoints
from soliloquy.models.motion.dual_domain import DualDomain, DualDomainConfig

SMALL = {
    "inputs": 12,
    "width": 16,
    "heads": 2,
    "layers": 1,
    "reach": 4,
    "recurrent": 8,
    "curves": 6,
}


def network(seed=0, **changes):
    torch.manual_seed(seed)
    return DualDomain(DualDomainConfig(**{**SMALL, **changes})).eval().requires_grad_(False)


def inputs(count=40, batch=2, channels=12):
    random = torch.Generator().manual_seed(1)
    features = torch.randn(batch, count, channels, generator=random)
    rest = torch.randn(batch, 68, 3, generator=random)
    return features, rest, torch.arange(batch) + 3


def saved(path, **changes):
    made = network(**changes)
    checkpoints.save(made, path, asdict(made.config))
    return path
