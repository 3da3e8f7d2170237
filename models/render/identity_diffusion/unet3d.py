"""The U-Net of ATL-Diff's published weights: the layout of diffusers' `UNet3DConditionModel`.

Stage 5. Neither code nor paper says how it is configured; that stands in the `unet/config.json`
beside the weights, so this network has every size and block type such a file can name. What the
context (the identity) contributes is the same in all steps and all segments of a clip: `condition`
computes it once, `denoise` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from math import gcd, log
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import checkpoints
from ...payloads import PayloadError
from .unet3d_layers import KeyValues, ResidualBlock, TemporalBlock, Transformer
from .unet3d_parts import divisible, in_parts

StateDict = dict[str, Tensor]
PLAIN = {"DownBlock3D": False, "UpBlock3D": False}
ATTENTIVE = {"CrossAttnDownBlock3D": True, "CrossAttnUpBlock3D": True}
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "silu": nn.SiLU,
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
}
ENTRANCE_HEADS = 8  # of the transformer before the first block


@dataclass(frozen=True, kw_only=True)
class UNet3DConfig:
    """What a diffusers folder's `unet/config.json` says; names and defaults are diffusers'."""

    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = (*("CrossAttnDownBlock3D",) * 3, "DownBlock3D")
    up_block_types: tuple[str, ...] = ("UpBlock3D", *("CrossAttnUpBlock3D",) * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    downsample_padding: int = 1
    mid_block_scale_factor: float = 1.0
    act_fn: str = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int = 1024
    attention_head_dim: int = 64

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        if len(self.down_block_types) != levels or len(self.up_block_types) != levels:
            raise PayloadError(
                f"The U-Net's configuration has {levels} block_out_channels, but"
                f" {len(self.down_block_types)} down and {len(self.up_block_types)} up block types;"
                " it needs one of each per level."
            )
        unknown = {*self.down_block_types, *self.up_block_types} - {*PLAIN, *ATTENTIVE}
        if unknown:
            raise PayloadError(
                f"The U-Net's configuration names the block type '{min(unknown)}'; known are"
                f" {', '.join([*PLAIN, *ATTENTIVE])}. It is not a UNet3DConditionModel."
            )
        if any(channels % self.norm_num_groups for channels in self.block_out_channels):
            raise PayloadError(
                f"The U-Net's {self.block_out_channels} channels do not fall into"
                f" {self.norm_num_groups} groups. Give the configuration that the weights came with"
                " (unet/config.json)."
            )
        if self.act_fn not in ACTIVATIONS:
            raise PayloadError(
                f"The U-Net's configuration names the activation '{self.act_fn}'; known are"
                f" {', '.join(ACTIVATIONS)}."
            )

    @property
    def time_channels(self) -> int:
        """Of the embedding of the timestep."""
        return 4 * self.block_out_channels[0]

    @property
    def attend_down(self) -> list[bool]:
        """Which levels attend on the way down."""
        return [kind in ATTENTIVE for kind in self.down_block_types]

    @property
    def attend_up(self) -> list[bool]:
        """Which levels attend on the way up, the coarsest first."""
        return [kind in ATTENTIVE for kind in self.up_block_types]


class Layer(nn.Module):
    """A residual block, one over time, and a transformer over each: `[B · F, C, H, W]`."""

    def __init__(
        self,
        config: UNet3DConfig,
        channels: tuple[int, int],
        *,
        attend: bool,
        operations: ModuleType | Any,
        divisor: float = 1.0,
    ):
        super().__init__()
        width, groups, head = channels[1], config.norm_num_groups, config.attention_head_dim
        self.residual = ResidualBlock(
            channels,
            config.time_channels,
            groups,
            eps=config.norm_eps,
            divisor=divisor,
            activation=ACTIVATIONS[config.act_fn](),
            operations=operations,
        )
        self.temporal = TemporalBlock(width, groups, operations)
        self.attends = attend
        if attend:
            context, heads = config.cross_attention_dim, width // head
            self.attention = Transformer(
                width, heads, head, groups, context=context, operations=operations
            )
            self.temporal_attention = Transformer(
                width, heads, head, groups, context=None, operations=operations
            )

    def forward(
        self,
        inputs: tuple[Tensor, ...],
        time: Tensor,
        frames: int,
        pairs: KeyValues,
        *,
        larger: nn.Module | None = None,
    ) -> Tensor:
        """One layer of any block; inputs and `larger` are those of its residual block."""
        x = self.temporal(self.residual(inputs, time, larger), frames)
        if self.attends:
            x = self.attention.over_space(x, pairs)
            x = self.temporal_attention.over_time(x, frames)
        return x


class Level(nn.Module):
    """The layers of one size, and the convolution that leads to the next size."""

    def __init__(self, layers: list[Layer], resample: nn.Module | None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.resample = resample


class UNet3D(nn.Module):
    """`UNet3DConditionModel`: what the noise, or the clean clip, in a noisy one is.

    sample [B, C, F, H, W], timestep (a number, [] or [B]), context [B, L, channels] → like sample.
    Convolutions and attention work per frame over H × W, and over F per place. ATL-Diff's program
    passes clips as [1, 3, 128, 128, 32], height for F and time for W; its weights expect that.
    """

    def __init__(self, config: UNet3DConfig, operations: ModuleType | Any = nn):
        super().__init__()
        self.config = config
        first, last = config.block_out_channels[0], config.block_out_channels[-1]
        self.image_in = operations.Conv2d(config.in_channels, first, 3, padding=1)
        self.time_in = operations.Linear(first, config.time_channels)
        self.time_out = operations.Linear(config.time_channels, config.time_channels)
        self.time_activation = ACTIVATIONS[config.act_fn]()
        self.entrance = Transformer(
            first,
            ENTRANCE_HEADS,
            config.attention_head_dim,
            config.norm_num_groups,
            context=None,
            operations=operations,
        )
        self.down = nn.ModuleList(_levels_down(config, operations))
        divisor = config.mid_block_scale_factor
        self.mid = nn.ModuleList(
            Layer(config, (last, last), attend=attend, operations=operations, divisor=divisor)
            for attend in (True, False)
        )
        self.up = nn.ModuleList(_levels_up(config, operations))
        self.norm_out = operations.GroupNorm(config.norm_num_groups, first, eps=config.norm_eps)
        self.image_out = operations.Conv2d(first, config.out_channels, 3, padding=1)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | int,
        encoder_hidden_states: Tensor,
        class_labels: Tensor | None = None,
    ) -> Tensor:
        """The prediction. `class_labels` have no effect, as in the published pipeline."""
        return self.denoise(sample, timestep, self.condition(encoder_hidden_states))

    def condition(self, context: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of every cross-attention for a context `[B, L, channels]`."""
        given, wanted = context.shape[-1], self.config.cross_attention_dim
        if given != wanted:
            raise PayloadError(
                f"The U-Net was given a context of {given} channels; its weights need {wanted}."
            )
        context = context.to(self.image_in.weight.dtype)
        return [layer.attention.second.keys_values(context) for layer in self._attentive()]

    def denoise(
        self, sample: Tensor, timestep: Tensor | int, context: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        """The prediction, with the context as `condition` made it."""
        batch, channels, frames, height, width = sample.shape
        time = self._time(timestep, sample)
        pairs = iter(context)
        x = sample.permute(0, 2, 3, 4, 1).reshape(batch * frames, height, width, channels)
        x = self.image_in(x.permute(0, 3, 1, 2).to(self.image_in.weight.dtype))
        x = self.entrance.over_time(x.contiguous(memory_format=torch.channels_last), frames)
        kept = [x]
        for level in self._levels(self.down):
            for layer in level.layers:
                x = layer((x,), time, frames, pairs)
                kept.append(x)
            if level.resample is not None:
                x = level.resample(x)
                kept.append(x)
        for layer in self.mid:
            x = layer((x,), time, frames, pairs)
        larger = None
        for level in self._levels(self.up):
            for layer in level.layers:
                x = layer((x, kept.pop()), time, frames, pairs, larger=larger)
                larger = None
            larger = level.resample  # part of the next layer, whose other input tells the size
        x = self._image(x)
        return x.unflatten(0, (batch, frames)).transpose(1, 2).to(sample.dtype)

    def _image(self, x: Tensor) -> Tensor:
        def draw(part: Tensor) -> Tensor:
            return self.image_out(F.silu(self.norm_out(part), inplace=not part.requires_grad))

        if not divisible(self, x):
            return draw(x)
        image = torch.empty(len(x), self.config.out_channels, *x.shape[-2:])
        return in_parts(draw, (x,), 0, x[0].numel(), into=image)

    def _time(self, timestep: Tensor | int, sample: Tensor) -> Tensor:
        """The activated embedding, `[1 or B, time channels]`."""
        steps = torch.as_tensor(timestep, device=sample.device).reshape(-1)
        waves = cosines(steps, self.config.block_out_channels[0]).to(self.time_in.weight.dtype)
        return self.time_activation(self.time_out(self.time_activation(self.time_in(waves))))

    def _attentive(self) -> Iterator[Layer]:
        """The layers with cross-attention, in the order of their calls."""
        for level in [*self._levels(self.down), None, *self._levels(self.up)]:
            for layer in self.mid if level is None else level.layers:
                if layer.attends:
                    yield cast(Layer, layer)

    def _levels(self, levels: nn.ModuleList) -> list[Level]:
        return [cast(Level, level) for level in levels]


def _levels_down(config: UNet3DConfig, operations: ModuleType | Any) -> Iterator[Level]:
    channels = config.block_out_channels
    steps = pairwise((channels[0], *channels))
    for i, ((before, after), attend) in enumerate(zip(steps, config.attend_down, strict=True)):
        layers = [
            Layer(
                config, (before if j == 0 else after, after), attend=attend, operations=operations
            )
            for j in range(config.layers_per_block)
        ]
        smaller = operations.Conv2d(after, after, 3, stride=2, padding=config.downsample_padding)
        yield Level(layers, smaller if i < len(channels) - 1 else None)


def _levels_up(config: UNet3DConfig, operations: ModuleType | Any) -> Iterator[Level]:
    channels = config.block_out_channels[::-1]
    for i, (after, attend) in enumerate(zip(channels, config.attend_up, strict=True)):
        below, beside = channels[max(i - 1, 0)], channels[min(i + 1, len(channels) - 1)]
        layers = []
        for j in range(config.layers_per_block + 1):
            kept = beside if j == config.layers_per_block else after
            entering = (below if j == 0 else after) + kept
            layers.append(Layer(config, (entering, after), attend=attend, operations=operations))
        larger = operations.Conv2d(after, after, 3, padding=1)
        yield Level(layers, larger if i < len(channels) - 1 else None)


def cosines(timesteps: Tensor, channels: int) -> Tensor:
    """`[cos(t · f), sin(t · f)]` of `[S]`, f from 1 down to almost 1/10000: `[S, channels]`."""
    half = channels // 2
    index = torch.arange(half, device=timesteps.device, dtype=torch.float32)
    angles = timesteps.float()[:, None] * torch.exp(index * (-log(1e4) / half))
    waves = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(waves, (0, channels % 2))


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors in the shapes of our layers: joined projections, flat kernels."""
    prepared: StateDict = {}
    for key, value in state.items():
        stem, _, part = key.rpartition(".to_")
        if part in ("k.weight", "v.weight", "q.weight"):
            _join(prepared, state, stem, part)
        elif ".temp_convs." in key and value.ndim == 5:
            prepared[key] = value[..., 0]
        else:
            prepared[key] = value
    return prepared


def _join(prepared: StateDict, state: StateDict, stem: str, part: str) -> None:
    """Queries, keys and values of a self-attention, or keys and values of one to the context."""
    outside = stem.endswith("attn2") and ".attentions." in stem
    if outside and part == "q.weight":
        prepared[f"{stem}.to_q.weight"] = state[f"{stem}.to_q.weight"]
        return
    names = [f"{stem}.to_{which}.weight" for which in ("kv" if outside else "qkv")]
    present = [state[name] for name in names if name in state]
    whole = len(present) == len(names) and len({value.shape for value in present}) == 1
    if whole:
        prepared[f"{stem}.to_{'kv' if outside else 'qkv'}.weight"] = torch.cat(present)
    else:  # left as they are, for the loader to complain about
        prepared[f"{stem}.to_{part}"] = state[f"{stem}.to_{part}"]


def config_from(found: Mapping[str, Any]) -> UNet3DConfig:
    """The configuration in the content of a `unet/config.json`; what is not used is passed over.

    Raises:
        PayloadError: it describes another network, or one with parts that no published weights had.
    """
    kind = found.get("_class_name", "UNet3DConditionModel")
    if kind != "UNet3DConditionModel":
        raise PayloadError(f"The folder's U-Net is a {kind}; a UNet3DConditionModel is needed.")
    for name in ("num_attention_heads", "time_cond_proj_dim"):
        if found.get(name) is not None:
            raise PayloadError(f"The U-Net's configuration sets {name}; that cannot be loaded.")
    known = {field.name for field in fields(UNet3DConfig)}
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in found.items()
        if name in known
    }
    return UNet3DConfig(**chosen)


def config_of(state: StateDict) -> UNet3DConfig:
    """The sizes, read off the weights; how channels are grouped in norms leaves no trace in them.

    32 groups are assumed, diffusers' default, or as many as divide the channels of all levels.
    """
    levels = range(len({key.split(".")[1] for key in state if key.startswith("down.")}))
    channels = tuple(len(state[f"down.{i}.layers.0.residual.first.bias"]) for i in levels)
    layers = {key.split(".")[3] for key in state if key.startswith("down.0.layers.")}

    def kinds(way: str) -> tuple[str, ...]:
        attends = [f"{way}.{i}.layers.0.attention.norm.weight" in state for i in levels]
        return tuple(f"{'CrossAttn' * there}{way.title()}Block3D" for there in attends)

    return UNet3DConfig(
        in_channels=state["image_in.weight"].shape[1],
        out_channels=state["image_out.weight"].shape[0],
        down_block_types=kinds("down"),
        up_block_types=kinds("up"),
        block_out_channels=channels,
        layers_per_block=len(layers),
        norm_num_groups=gcd(32, *channels),
        cross_attention_dim=state["mid.0.attention.second.kv.weight"].shape[1],
        attention_head_dim=state["entrance.enter.weight"].shape[0] // ENTRANCE_HEADS,
    )


def build(
    state: StateDict, metadata: dict[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network: as the configuration says, or of the weights' sizes where there is none.

    Raises:
        CheckpointError: the weights are incomplete, so that their sizes cannot be read off.
    """
    told = checkpoints.config_of(metadata)
    if told:
        return UNet3D(config_from(told), operations)
    try:
        return UNet3D(config_of(state), operations)
    except KeyError as absent:
        raise checkpoints.CheckpointError(
            f"The weights lack {absent}, so the sizes of the U-Net cannot be read off them."
        ) from None
