"""ATL-Diff's U-Net written down as its layout has it, to measure and check the fast one against.

Its parameters carry upstream's names, so it loads a state dict without any table. The context is
repeated for every row of the clip and projected again in every call; clips are moved to the axis
order that each part asks for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.render.identity_diffusion.unet3d import ACTIVATIONS, UNet3DConfig, cosines


class Attention(nn.Module):
    """Dot-product attention with upstream's names."""

    def __init__(self, width: int, context: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """[B, N, width] looks at [B, L, context]."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        y = F.scaled_dot_product_attention(query, key, value)
        return self.to_out[0](y.transpose(1, 2).flatten(2))


class Gate(nn.Module):
    """GEGLU."""

    def __init__(self, width: int):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        """[…, width] → […, 4 · width]."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Gated layers."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.ModuleList([Gate(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """[…, width] → […, width]."""
        return self.net[2](self.net[0](x))


class Block(nn.Module):
    """One transformer block."""

    def __init__(self, width: int, context: int | None, heads: int):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context or width, heads)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """[B, N, width] → the same."""
        y = self.norm1(x)
        x = x + self.attn1(y, y)
        y = self.norm2(x)
        x = x + self.attn2(y, y if context is None else context)
        return x + self.ff(self.norm3(x))


class Transformer(nn.Module):
    """Over space, with a context, or over time, without."""

    def __init__(self, channels: int, heads: int, head: int, groups: int, context: int | None):
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, heads * head)
        self.transformer_blocks = nn.ModuleList([Block(heads * head, context, heads)])
        self.proj_out = nn.Linear(heads * head, channels)

    def forward(self, x: Tensor, frames: int, context: Tensor | None = None) -> Tensor:
        """[B · F, C, H, W] → the same."""
        if context is not None:
            _, _, height, width = x.shape
            y = self.proj_in(self.norm(x).flatten(2).transpose(1, 2).contiguous())
            y = self.proj_out(self.transformer_blocks[0](y, context))
            return x + y.transpose(1, 2).reshape(len(x), -1, height, width)
        clip = x.unflatten(0, (-1, frames)).transpose(1, 2)  # [B, C, F, H, W]
        y = self.norm(clip).permute(0, 3, 4, 2, 1)  # [B, H, W, F, C]
        tokens = self.proj_in(y.reshape(-1, frames, y.shape[-1]))
        tokens = self.proj_out(self.transformer_blocks[0](tokens, None))
        return x + tokens.view(y.shape).permute(0, 3, 4, 1, 2).reshape(x.shape)


class Residual(nn.Module):
    """Two convolutions per frame."""

    def __init__(self, before: int, after: int, config: UNet3DConfig, divisor: float = 1.0):
        super().__init__()
        groups, eps = config.norm_num_groups, config.norm_eps
        self.norm1 = nn.GroupNorm(groups, before, eps=eps)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time_emb_proj = nn.Linear(config.time_channels, after)
        self.norm2 = nn.GroupNorm(groups, after, eps=eps)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.act, self.divisor = ACTIVATIONS[config.act_fn](), divisor
        if before != after:
            self.conv_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """[B · F, C, H, W], [B · F, time channels]."""
        y = self.conv1(self.act(self.norm1(x)))
        y = self.norm2(y + self.time_emb_proj(self.act(time))[:, :, None, None])
        y = self.conv2(self.act(y))
        return ((self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x) + y) / self.divisor


class Temporal(nn.Module):
    """Four convolutions over time."""

    def __init__(self, channels: int, groups: int):
        super().__init__()

        def convolution() -> nn.Conv3d:
            return nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))

        self.conv1 = nn.Sequential(nn.GroupNorm(groups, channels), nn.SiLU(), convolution())
        for name in ("conv2", "conv3", "conv4"):
            parts = (nn.GroupNorm(groups, channels), nn.SiLU(), nn.Identity(), convolution())
            self.add_module(name, nn.Sequential(*parts))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B · F, C, H, W] → the same."""
        clip = x.unflatten(0, (-1, frames)).transpose(1, 2)
        y = self.conv4(self.conv3(self.conv2(self.conv1(clip)))) + clip
        return y.transpose(1, 2).reshape(x.shape)


class Stage(nn.Module):
    """A block of the way down, in the middle or up."""

    def __init__(
        self,
        channels: list[tuple[int, int]],
        attend: int,
        config: UNet3DConfig,
        divisor: float = 1.0,
    ):
        super().__init__()
        width, head, groups = channels[0][1], config.attention_head_dim, config.norm_num_groups
        self.resnets = nn.ModuleList(Residual(a, b, config, divisor) for a, b in channels)
        self.temp_convs = nn.ModuleList(Temporal(width, groups) for _ in channels)
        heads, context = width // head, config.cross_attention_dim
        for name, seen in (("attentions", context), ("temp_attentions", None)):
            parts = [Transformer(width, heads, head, groups, seen) for _ in range(attend)]
            if parts:
                self.add_module(name, nn.ModuleList(parts))

    def layer(self, index: int, x: Tensor, time: Tensor, frames: int, context: Tensor) -> Tensor:
        """One layer; those without attention come last."""
        x = self.temp_convs[index](self.resnets[index](x, time), frames)
        if index < len(getattr(self, "attentions", ())):
            x = self.attentions[index](x, frames, context)
            x = self.temp_attentions[index](x, frames)
        return x


class Sampler(nn.Module):
    """The convolution between two sizes."""

    def __init__(self, channels: int, **options: Any):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, **options)


class PlainUNet3D(nn.Module):
    """[B, C, F, H, W], timestep, [B, L, context] → [B, C, F, H, W]."""

    def __init__(self, config: UNet3DConfig):
        super().__init__()
        self.config = config
        channels, count = config.block_out_channels, config.layers_per_block
        first, last, end = channels[0], channels[-1], len(channels) - 1
        self.conv_in = nn.Conv2d(config.in_channels, first, 3, padding=1)
        self.time_embedding = nn.ModuleDict(
            {
                "linear_1": nn.Linear(first, config.time_channels),
                "linear_2": nn.Linear(config.time_channels, config.time_channels),
            }
        )
        head, groups = config.attention_head_dim, config.norm_num_groups
        self.transformer_in = Transformer(first, 8, head, groups, None)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(channels):
            sizes = [(channels[max(i - 1, 0)] if j == 0 else width, width) for j in range(count)]
            stage = Stage(sizes, count * config.attend_down[i], config)
            if i < end:
                smaller = Sampler(width, stride=2, padding=config.downsample_padding)
                stage.downsamplers = nn.ModuleList([smaller])
            self.down_blocks.append(stage)
        self.mid_block = Stage([(last, last)] * 2, 1, config, config.mid_block_scale_factor)
        for i, width in enumerate(channels[::-1]):
            below, beside = channels[::-1][max(i - 1, 0)], channels[::-1][min(i + 1, end)]
            sizes = [
                ((below if j == 0 else width) + (beside if j == count else width), width)
                for j in range(count + 1)
            ]
            stage = Stage(sizes, (count + 1) * config.attend_up[i], config)
            if i < end:
                stage.upsamplers = nn.ModuleList([Sampler(width, padding=1)])
            self.up_blocks.append(stage)
        self.conv_norm_out = nn.GroupNorm(groups, first, eps=config.norm_eps)
        self.conv_out = nn.Conv2d(first, config.out_channels, 3, padding=1)

    def forward(self, sample: Tensor, timestep: Tensor | int, context: Tensor) -> Tensor:
        """The prediction."""
        batch, _, frames, _, _ = sample.shape
        steps = torch.as_tensor(timestep).reshape(-1).expand(batch)
        act = ACTIVATIONS[self.config.act_fn]()
        embed = self.time_embedding
        waves = cosines(steps, self.config.block_out_channels[0])
        time = embed["linear_2"](act(embed["linear_1"](waves))).repeat_interleave(frames, dim=0)
        context = context.repeat_interleave(frames, dim=0)
        x = self.conv_in(sample.transpose(1, 2).flatten(0, 1))
        x = self.transformer_in(x, frames)
        kept = [x]
        for stage in self.down_blocks:
            for index in range(len(stage.resnets)):
                x = stage.layer(index, x, time, frames, context)
                kept.append(x)
            for smaller in getattr(stage, "downsamplers", ()):
                x = smaller.conv(x)
                kept.append(x)
        for index in range(2):
            x = self.mid_block.layer(index, x, time, frames, context)
        for stage in self.up_blocks:
            for index in range(len(stage.resnets)):
                x = torch.cat([x, kept.pop()], dim=1)
                x = stage.layer(index, x, time, frames, context)
            for larger in getattr(stage, "upsamplers", ()):
                x = larger.conv(F.interpolate(x, kept[-1].shape[-2:], mode="nearest"))
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        return x.unflatten(0, (batch, frames)).transpose(1, 2)
