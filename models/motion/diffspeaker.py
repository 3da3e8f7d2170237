"""Speech to the vertices of a face mesh by diffusion: DiffSpeaker (Ma et al. 2024), as published.

Stage 3, as a reference: KSDiff builds on it, and its meshes (VOCASET, BIWI) are not ours to move.
A decoder over the frames of a whole clip; who speaks and the timestep are two tokens that every
frame attends to, besides the other frames and the speech of its own moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sampling import (
    OnStep,
    Schedule,
    Step,
    alphas_cumprod,
    ddim_step,
    ddim_step_0_11,
    sample_ddim,
    scaled_linear_betas,
    spaced_timesteps,
)
from .biased_attention import (
    BiasedLayer,
    band_bias,
    distance_bias,
    periodic_encoding,
    timestep_encoding,
)

StateDict = dict[str, Tensor]
TOKENS = 2  # who speaks, and the timestep
BETAS = (0.00085, 0.012)  # scaled linear
STEPS = 50
STEPPERS: dict[str, Step] = {"0.11": ddim_step_0_11, "modern": ddim_step}
BIWI_VERTICES = 3 * 23370


@dataclass(frozen=True, kw_only=True)
class DiffSpeakerConfig:
    """The published model for VOCASET, 19.7 M parameters."""

    vertices: int = 3 * 5023  # coordinates of the mesh, as offsets from a face at rest
    audio: int = 768  # channels of wav2vec 2.0 or HuBERT
    width: int = 512
    inner: int = 1024  # channels within the perceptron
    layers: int = 1
    heads: int = 4
    speakers: int = 8  # whose style was trained


class DiffSpeaker(nn.Module):
    """Predicts the clean offsets in noisy ones.

    noisy [B, T, V], audio [B, N, 768], timestep [B], speaker [B], valid [B, T] -> [B, T, V]
    """

    period: Tensor  # [] int64, frames after which positions repeat: 30 for VOCASET, 25 for BIWI

    def __init__(self, config: DiffSpeakerConfig, operations: ModuleType | Any = nn) -> None:
        super().__init__()
        self.config = config
        width, styles = config.width, config.width * config.layers
        self.register_buffer("period", torch.tensor(30))
        self.speech_in = operations.Linear(config.audio, width)
        self.motion_in = operations.Linear(config.vertices, width)
        self.time_in = operations.Linear(config.audio, styles)
        self.time_out = operations.Linear(styles, styles)
        self.style = operations.Embedding(config.speakers, styles)
        self.layers = nn.ModuleList(
            BiasedLayer(width, config.heads, config.inner, operations) for _ in range(config.layers)
        )
        self.motion_out = operations.Linear(width, config.vertices)
        nn.init.zeros_(self.motion_out.weight)
        nn.init.zeros_(self.motion_out.bias)

    def forward(
        self,
        noisy: Tensor,
        audio: Tensor,
        timestep: Tensor,
        speaker: Tensor,
        valid: Tensor | None = None,
    ) -> Tensor:
        """The clean offsets.

        Args:
            noisy: offsets with noise, at 30 or 25 frames per second.
            audio: hidden states of the whole clip, any number of rows: they are stretched over it.
            timestep: of the noise.
            speaker: whose style; a number each, or one-hot rows.
            valid: bool, False behind the end of a shorter clip.
        """
        frames = noisy.shape[1]
        memory = self.speech_in(stretch(audio, frames))
        position = periodic_encoding(frames, self.config.width, int(self.period))
        x = self.motion_in(noisy) + position.to(noisy)
        # Each layer has a style and a time of its own, side by side in the channels.
        who = speaker if speaker.ndim == 1 else speaker.argmax(-1)
        tokens = torch.stack([self.style(who), self._time(timestep)], dim=1).to(noisy)
        biases = self._biases(frames, valid, like=noisy)
        for layer, own in zip(self.layers, tokens.chunk(self.config.layers, dim=-1), strict=True):
            x = layer(x, memory, own, biases)
        return self.motion_out(x)

    def _time(self, timestep: Tensor) -> Tensor:
        waves = timestep_encoding(timestep, self.config.audio).to(self.motion_out.weight.dtype)
        return self.time_out(F.silu(self.time_in(waves)))

    def _biases(
        self, frames: int, valid: Tensor | None, like: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        period, heads = int(self.period), self.config.heads
        among = distance_bias(frames, heads, period, tokens=TOKENS).to(like)
        if valid is None:
            return among, None
        absent = F.pad(~valid.to(like.device), (TOKENS, 0))[:, None, None]
        own = band_bias(frames, 0, tokens=TOKENS).to(like)
        return tuple(bias.masked_fill(absent, float("-inf")) for bias in (among, own))  # type: ignore[return-value]


def stretch(audio: Tensor, frames: int) -> Tensor:
    """Rows `[B, N, C]` spread over `frames`, the first on the first and the last on the last."""
    if audio.shape[1] == frames:
        return audio
    rows = audio.transpose(1, 2)
    return F.interpolate(rows, frames, mode="linear", align_corners=True).transpose(1, 2)


def frames_of(rows: int, fps: int = 30) -> int:
    """How many frames `rows` hidden states at 50 per second last; 49 of them, a second, last 29."""
    return int(rows / 50 * fps)


def schedule(stepper: str = "0.11") -> Schedule:
    """The noise it was trained on, and the step of its program's diffusers, "0.11" or "modern"."""
    alphas = alphas_cumprod(scaled_linear_betas(*BETAS))
    return Schedule(alphas=alphas, predicts="sample", end=float(alphas[0]), step=STEPPERS[stepper])


@torch.no_grad()
def sample(
    network: DiffSpeaker,
    audio: Tensor,
    noise: Tensor,
    speaker: int,
    *,
    steps: int = STEPS,
    stepper: str = "0.11",
    smooth: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """The clean offsets of a clip, `[1, T, V]`, to be added to the face at rest.

    Args:
        network: with the published weights.
        audio: hidden states of the clip, `[1, N, 768]`.
        noise: where to start, `[1, T, V]`.
        speaker: whose style.
        steps: of diffusion.
        stepper: "0.11" as published, or "modern".
        smooth: average three frames, as published for VOCASET.
        on_step: called with (steps done, steps in all).
    """
    who = torch.full((len(noise),), speaker, device=noise.device)
    stretched = stretch(audio, noise.shape[1])

    def denoise(noisy: Tensor, timestep: int) -> Tensor:
        return network(noisy, stretched, torch.full_like(who, timestep), who)

    timesteps = [timestep + 1 for timestep in spaced_timesteps(steps)]
    clean = sample_ddim(denoise, noise, schedule(stepper), steps=timesteps, on_step=on_step)
    return smoothed(clean) if smooth else clean


def smoothed(offsets: Tensor) -> Tensor:
    """Each frame averaged with its neighbours; the first and the last stay as they are."""
    inner = (offsets[:, :-2] + offsets[:, 1:-1] + offsets[:, 2:]) / 3
    return torch.cat([offsets[:, :1], inner, offsets[:, -1:]], dim=1)


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors as our layers have them: queries apart from keys and values.

    The period stands nowhere in the file but in the length of the table of positions, which is
    made of whole periods; without that table it is BIWI's or VOCASET's.
    """
    prepared: StateDict = {}
    for key, value in state.items():
        stem, found, kind = key.rpartition("in_proj_")
        if found:
            query, keys_values = value.split([len(value) // 3, len(value) - len(value) // 3])
            prepared[f"{stem}query.{kind}"] = query
            prepared[f"{stem}key_value.{kind}"] = keys_values
        else:
            prepared[key] = value
    vertices = state["motion_decoder.weight"].shape[0]
    period = 25 if vertices == BIWI_VERTICES else 30
    if "PPE.pe" in state:
        period = period_of(state["PPE.pe"][0])
    prepared["period"] = torch.tensor(period)
    return prepared


def period_of(table: Tensor) -> int:
    """After how many rows a table of positions `[N, D]` begins again."""
    repeated = (table[1:] - table[0]).abs().amax(1) < 1e-4
    return int(repeated.float().argmax()) + 1 if repeated.any() else len(table)


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> DiffSpeaker:
    """The empty network, of the weights' sizes."""
    width, vertices = state["motion_in.weight"].shape
    config = DiffSpeakerConfig(
        vertices=vertices,
        audio=state["speech_in.weight"].shape[1],
        width=width,
        inner=state["layers.0.inner.weight"].shape[0],
        layers=len({key.split(".")[1] for key in state if key.startswith("layers.")}),
        speakers=state["style.weight"].shape[0],
    )
    return DiffSpeaker(config, operations)
