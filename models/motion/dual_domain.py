"""Speech to landmarks over any length: our successor of ATL-Diff's generator (see `kflm.py`).

Stage 3. The idea is the paper's: a global and a local domain hear the speech, the face is fused
from both, the mouth apart from it, and curves of a KAN bring the landmarks together. Unlike the
published network it attends over time, nothing in it depends on the length of the sound, and the
emotion has an effect. `atl_diff.py` samples with it, `training/kflm.py` trains it; the switches
are the paper's ablations (table 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import checkpoints
from ..local_attention import LocalAttention
from .kan import KAN, KANConfig
from .kflm import MOUTH

EMOTIONS = (
    "angry",
    "fear",
    "sad",
    "contempt",
    "happy",
    "surprised",
    "disgusted",
    "neutral",
)  # in the published order
LANDMARKS = 68


@dataclass(frozen=True, kw_only=True)
class DualDomainConfig:
    """Sizes of the bundled network, and what the ablations switch off."""

    inputs: int = 192  # channels of the speech features, 50 a second
    width: int = 128
    heads: int = 4
    layers: int = 2  # of the global domain
    reach: int = 25  # features that each of them looks to either side
    recurrent: int = 64  # channels of the local domain, in each direction
    curves: int = 48  # between the two layers of the KAN
    contrast: float = 1.0  # of movements around their mean: a mean guess moves less than faces do
    kan: bool = True  # False: two linear layers, …
    hidden: int = 0  # … with so many channels between them; 0: with as many parameters
    local_domain: bool = True
    global_domain: bool = True

    @property
    def context(self) -> int:
        """Features to either side that change a frame: exactly, but for what the recurrent layers
        remember, which fades within a second.
        """
        return max(self.layers * self.reach * self.global_domain, 50 * self.local_domain)


class GlobalLayer(nn.Module):
    """A transformer layer that looks around, normalised before each part: [B, N, width]."""

    def __init__(self, config: DualDomainConfig, operations: ModuleType | Any) -> None:
        super().__init__()
        width, reach = config.width, config.reach
        self.attention_norm = operations.LayerNorm(width)
        self.attention = LocalAttention(
            width, config.heads, before=reach, after=reach, operations=operations
        )
        self.norm = operations.LayerNorm(width)
        self.widen = operations.Linear(width, 2 * width)
        self.narrow = operations.Linear(2 * width, width)

    def forward(self, x: Tensor, distances: Tensor) -> Tensor:
        """The layer."""
        seen = self.attention_norm(x)
        x = x + self.attention(seen, seen, distances)
        return x + self.narrow(F.gelu(self.widen(self.norm(x))))


class DualDomain(nn.Module):
    """forward: features (B, N, 192), face at rest (B, 68, 3), emotion (B,) → (B, N, 68, 3).

    Faces at rest and offsets from them are in inter-ocular distances on a frontal face. Emotions
    are places in `EMOTIONS`, int64, or mixtures of them `(B, 8)`. One frame of landmarks comes out
    per feature, 50 a second.
    """

    def __init__(self, config: DualDomainConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.hear = operations.Linear(config.inputs, width)
        self.see = operations.Linear(3 * LANDMARKS, width)
        self.feel = operations.Embedding(len(EMOTIONS), width)
        domains = 0
        if config.global_domain:
            self.layers = nn.ModuleList(
                GlobalLayer(config, operations) for _ in range(config.layers)
            )
            self.global_norm = operations.LayerNorm(width)
            domains += width
        if config.local_domain:
            # Not from `operations`: the host's namespace has no recurrent layers.
            self.local = nn.LSTM(width, config.recurrent, batch_first=True, bidirectional=True)
            domains += 2 * config.recurrent
        domains = domains or width
        self.face = operations.Linear(domains, 3 * LANDMARKS)
        self.gate = operations.Linear(domains, 3 * LANDMARKS)
        self.mouth = operations.Linear(domains, 3 * len(MOUTH))
        self.curves = self._curves(operations)
        self.register_buffer("middle", torch.zeros(LANDMARKS, 3))  # mean of neutral speech

    def forward(
        self, features: Tensor, rest: Tensor, emotion: Tensor, frames: slice = slice(None)
    ) -> Tensor:
        """Offsets from the face at rest, at those of the features that `frames` chooses."""
        mixed = emotion.is_floating_point()
        felt = emotion @ self.feel.weight.to(emotion) if mixed else self.feel(emotion)
        x = self.hear(features) + (self.see(rest.flatten(1)) + felt)[:, None]
        domains = []
        if self.config.global_domain:
            domains.append(self._attend(x))
        if self.config.local_domain:
            domains.append(self.local(x)[0])
        heard = (torch.cat(domains, dim=-1) if domains else x)[:, frames]
        points = (self.face(heard) * self.gate(heard)).unflatten(-1, (3, LANDMARKS))
        mouth = self.mouth(heard).unflatten(-1, (3, len(MOUTH)))
        points = points.index_copy(-1, torch.tensor(MOUTH, device=points.device), mouth)
        offsets = self.curves(points).transpose(-1, -2)
        return torch.lerp(self.get_buffer("middle").to(offsets), offsets, self.config.contrast)

    def _attend(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        for layer in self.layers:
            x = layer(x, places[None] - places[:, None])
        return self.global_norm(x)

    def _curves(self, operations: ModuleType | Any) -> nn.Module:
        """Both act on the 68 landmarks, for x, y and z alike."""
        kan = KANConfig(widths=(LANDMARKS, self.config.curves, LANDMARKS))
        if self.config.kan:
            return KAN(kan, operations)
        edges = LANDMARKS * self.config.curves * (kan.bases + 2)  # a KAN's parameters per layer
        hidden = self.config.hidden or round(edges / LANDMARKS)
        return nn.Sequential(
            operations.Linear(LANDMARKS, hidden), nn.SiLU(), operations.Linear(hidden, LANDMARKS)
        )


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> DualDomain:
    """The empty network for a weight file; the metadata says what is switched on.

    Raises:
        CheckpointError: the file does not say how the network is built.
    """
    stored = checkpoints.config_of(metadata)
    names = {field.name for field in fields(DualDomainConfig)}
    if not stored or not set(stored) <= names:
        raise checkpoints.CheckpointError(
            "The file of ATL-Diff's landmarks does not say how its network is built. Use the file"
            " that came with Soliloquy, or one that `python -m soliloquy train kflm` wrote."
        )
    return DualDomain(DualDomainConfig(**stored), operations)
