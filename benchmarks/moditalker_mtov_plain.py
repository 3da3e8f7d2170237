"""MToV's networks arranged as published, without shortcuts, to compare the fast ones with.

Key names are those of the published files. Attention writes its whole matrix down, every plane goes
through every block by itself, a folded sequence is computed to its end.
"""

from __future__ import annotations

from math import log, log2, pi

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

HEAD_CHANNELS = 64
PLANES = ("xy", "yt", "xt")


class PreNorm(nn.Module):
    """`fn` behind a layer norm."""

    def __init__(self, channels: int, fn: nn.Module):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(channels), fn

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        """[B, L, C] → the same."""
        return self.fn(self.norm(x), *rest)


class Attention(nn.Module):
    """Attention whose weights are written down as one matrix."""

    def __init__(self, channels: int, heads: int, head_channels: int):
        super().__init__()
        inner = heads * head_channels
        self.heads, self.scale = heads, head_channels**-0.5
        self.to_qkv = nn.Linear(channels, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, channels))

    def forward(self, x: Tensor, *turn: Tensor) -> Tensor:
        """[B, L, C] → the same."""
        parts = self.to_qkv(x).chunk(3, dim=-1)
        q, k, v = (rearrange(part, "b l (h d) -> (b h) l d", h=self.heads) for part in parts)
        q = q * self.scale
        if turn:
            q, k = (part * turn[0] + _swapped(part) * turn[1] for part in (q, k))
        weights = torch.einsum("bid,bjd->bij", q, k).softmax(dim=-1)
        seen = torch.einsum("bij,bjd->bid", weights, v)
        return self.to_out(rearrange(seen, "(b h) l d -> b l (h d)", h=self.heads))


class FeedForward(nn.Module):
    """Widen, GELU (gating where asked for), narrow."""

    def __init__(self, channels: int, hidden: int, gated: bool):
        super().__init__()
        self.gated = gated
        widened = nn.Linear(channels, hidden * (2 if gated else 1))
        self.net = nn.ModuleList(
            [widened, nn.Identity(), nn.Identity(), nn.Linear(hidden, channels)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] → the same."""
        x = self.net[0](x)
        if self.gated:
            x, gate = x.chunk(2, dim=-1)
            return self.net[3](x * F.gelu(gate))
        return self.net[3](F.gelu(x))


class PlainTimeSformer(nn.Module):
    """Attention along time, over the picture, feed-forward."""

    def __init__(self, channels: int, heads: int, depth: int, patch: int = 0):
        super().__init__()
        if patch:
            self.to_patch_embedding = nn.Linear(3 * patch**2, channels)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNorm(channels, Attention(channels, heads, HEAD_CHANNELS)),
                    PreNorm(channels, Attention(channels, heads, HEAD_CHANNELS)),
                    PreNorm(channels, FeedForward(channels, 4 * channels, gated=True)),
                ]
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Volume [B, T, H, W, C] → the same."""
        b, t, h, w, _ = x.shape
        in_time, in_space = _time_turn(t), _space_turn(h, w)
        for along, over, feed in self.layers:
            time = along(rearrange(x, "b t h w c -> (b h w) t c"), *in_time)
            x = x + rearrange(time, "(b h w) t c -> b t h w c", b=b, h=h)
            space = over(rearrange(x, "b t h w c -> (b t) (h w) c"), *in_space)
            x = x + rearrange(space, "(b t) (h w) c -> b t h w c", b=b, h=h)
            x = x + feed(x)
        return x


class PlainTransformer(nn.Module):
    """What folds an axis away, computed for the whole sequence."""

    def __init__(self, channels: int, depth: int = 4, heads: int = 4, hidden: int = 512):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNorm(channels, Attention(channels, heads, channels // 8)),
                    PreNorm(channels, FeedForward(channels, hidden, gated=False)),
                ]
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, C] → the same."""
        for attend, feed in self.layers:
            x = attend(x) + x
            x = feed(x) + x
        return x


class PlainAutoencoder(nn.Module):
    """Video [B, 3, T, H, W] ↔ latent [B, 4, n]."""

    def __init__(
        self,
        *,
        side: int = 32,
        patch: int = 8,
        frames: int = 16,
        channels: int = 384,
        depth: int = 8,
        heads: int = 8,
    ):
        super().__init__()
        self.side, self.patch, self.frames = side, patch, frames
        self.encoder = PlainTimeSformer(channels, heads, depth, patch)
        self.decoder = PlainTimeSformer(channels, heads, depth)
        self.to_pixel = nn.Sequential(
            nn.Identity(), nn.ConvTranspose2d(channels, 3, patch, stride=patch)
        )
        for name, length in zip(PLANES, (frames, side, side), strict=True):
            self.register_parameter(f"{name}_token", nn.Parameter(torch.randn(1, 1, channels)))
            position = nn.Parameter(torch.randn(1, length + 1, channels))
            self.register_parameter(f"{name}_pos_embedding", position)
            self.add_module(f"{name}_quant_attn", PlainTransformer(channels))
            self.add_module(f"pre_{name}", nn.Conv2d(channels, 4, 1))
            self.add_module(f"post_{name}", nn.Conv2d(4, channels, 1))

    def extract(self, video: Tensor) -> Tensor:
        """The planes, end to end."""
        p, q = self.patch, self.patch
        patches = rearrange(video, "b c t (h p) (w q) -> b t h w (p q c)", p=p, q=q)
        x = self.encoder(self.encoder.to_patch_embedding(patches))
        xy = self._folded("xy", rearrange(x, "b t h w c -> b h w t c"))
        yt = self._folded("yt", rearrange(x, "b t h w c -> b t w h c"))
        xt = self._folded("xt", x)
        return torch.cat([xy.flatten(2), yt.flatten(2), xt.flatten(2)], dim=-1)

    def _folded(self, name: str, x: Tensor) -> Tensor:
        b, rows = x.shape[:2]
        x = rearrange(x, "b r c l d -> (b r c) l d")
        x = torch.cat([x, repeat(getattr(self, f"{name}_token"), "1 1 d -> n 1 d", n=len(x))], 1)
        x = getattr(self, f"{name}_quant_attn")(x + getattr(self, f"{name}_pos_embedding"))[:, 0]
        x = rearrange(x, "(b r c) d -> b d r c", b=b, r=rows)
        return torch.tanh(getattr(self, f"pre_{name}")(x))

    def decode_from_sample(self, latent: Tensor) -> Tensor:
        """Frames [B · T, 3, H, W]."""
        s, t = self.side, self.frames
        xy, yt, xt = latent.split([s * s, t * s, t * s], dim=-1)
        xy = self.post_xy(xy.unflatten(-1, (s, s)))[:, :, None].expand(-1, -1, t, -1, -1)
        yt = self.post_yt(yt.unflatten(-1, (t, s)))[:, :, :, None].expand(-1, -1, -1, s, -1)
        xt = self.post_xt(xt.unflatten(-1, (t, s)))[..., None].expand(-1, -1, -1, -1, s)
        volume = self.decoder(rearrange(xy + yt + xt, "b c t h w -> b t h w c"))
        pixels = self.to_pixel(rearrange(volume, "b t h w c -> (b t) c h w"))
        return 2 * torch.sigmoid(pixels) - 1


class PlainResBlock(nn.Module):
    """Two convolutions, modulated by the timestep."""

    def __init__(self, channels: int, out: int, time: int, resize: str = ""):
        super().__init__()
        self.resize = resize
        convolution = nn.Conv2d(channels, out, 3, padding=1)
        last = nn.Conv2d(out, out, 3, padding=1)
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), convolution)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, out), nn.SiLU(), nn.Identity(), last)
        self.skip_connection = nn.Conv2d(channels, out, 1) if out != channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """One plane."""
        y = self.in_layers[:2](x)
        if self.resize == "down":
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        elif self.resize == "up":
            x, y = (F.interpolate(part, scale_factor=2, mode="nearest") for part in (x, y))
        scale, shift = self.emb_layers(time)[:, :, None, None].chunk(2, dim=1)
        y = self.out_layers[0](self.in_layers[2](y)) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[1:](y)


class PlainAttentionBlock(nn.Module):
    """Attention over all places of `[B, C, …]`."""

    def __init__(self, channels: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Added to what came."""
        flat = x.flatten(2)
        parts = rearrange(
            self.qkv(self.norm(flat)), "b (h n d) l -> n (b h) d l", h=self.heads, n=3
        )
        q, k, v = parts
        weights = torch.einsum("bdi,bdj->bij", q, k) / q.shape[1] ** 0.5
        seen = torch.einsum("bij,bdj->bdi", weights.softmax(dim=-1), v)
        out = self.proj_out(rearrange(seen, "(b h) d l -> b (h d) l", h=self.heads))
        return (flat + out).view_as(x)


class PlainUNet(nn.Module):
    """forward: x [B, 4, n], cond [B, 8, n], image_cond [B, 4, R²], t [B] → [B, 4, n]."""

    def __init__(
        self,
        *,
        width: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 4, 4),
        attended: tuple[bool, ...] = (True, True, True, False),
        frames: int = 16,
    ):
        super().__init__()
        self.width, self.frames, time = width, frames, 4 * width
        embed = [nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time)]
        self.time_embed = nn.Sequential(*embed)
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(16, width, 3, padding=1)])])
        self.input_attns = nn.ModuleList([nn.Identity()])
        skips = [width]
        for level, factor in enumerate(multipliers):
            for kind in ("", "", "down")[: 2 if level == len(multipliers) - 1 else 3]:
                out = skips[-1] if kind else factor * width
                block: list[nn.Module] = [PlainResBlock(skips[-1], out, time, kind)]
                if attended[level] and not kind:
                    block.append(PlainAttentionBlock(out))
                self.input_blocks.append(nn.ModuleList(block))
                self.input_attns.append(PlainAttentionBlock(out))
                skips.append(out)
        inside = skips[-1]
        ends = [PlainResBlock(inside, inside, time) for _ in range(2)]
        self.middle_block = nn.ModuleList([ends[0], PlainAttentionBlock(inside), ends[1]])
        self.mid_attn = PlainAttentionBlock(inside)
        self.output_blocks, self.output_attns = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(multipliers))):
            for i in range(3):
                out = multipliers[level] * width
                block = [PlainResBlock(inside + skips.pop(), out, time)]
                block += [PlainAttentionBlock(out)] if attended[level] else []
                block += [PlainResBlock(out, out, time, "up")] if level and i == 2 else []
                self.output_blocks.append(nn.ModuleList(block))
                self.output_attns.append(PlainAttentionBlock(out))
                inside = out
        self.out = nn.Sequential(
            nn.GroupNorm(32, width), nn.SiLU(), nn.Conv2d(width, 4, 3, padding=1)
        )

    def forward(self, x: Tensor, cond: Tensor, image_cond: Tensor, t: Tensor) -> Tensor:
        """The noise."""
        half = self.width // 2
        angles = t[:, None].float() * torch.exp(-log(1e4) * torch.arange(half) / half)
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))
        padding = torch.zeros_like(x[:, :, image_cond.shape[-1] :])
        given = torch.cat([x, cond, torch.cat([image_cond, padding], dim=-1)], dim=1)
        planes = self._split(given)
        left: list[list[Tensor]] = []
        for block, attention in zip(self.input_blocks, self.input_attns, strict=True):
            planes = self._joined([_through(block, plane, time) for plane in planes], attention)
            left.append(planes)
        planes = [_through(self.middle_block, plane, time) for plane in planes]
        planes = self._joined(planes, self.mid_attn)
        for block, attention in zip(self.output_blocks, self.output_attns, strict=True):
            both = [torch.cat(pair, dim=1) for pair in zip(planes, left.pop(), strict=True)]
            planes = self._joined([_through(block, plane, time) for plane in both], attention)
        return torch.cat([self.out(plane).flatten(2) for plane in planes], dim=-1)

    def _split(self, x: Tensor) -> list[Tensor]:
        side = round((self.frames**2 + x.shape[-1]) ** 0.5) - self.frames
        sizes = (side * side, self.frames * side, self.frames * side)
        return [part.unflatten(-1, (-1, side)) for part in x.split(sizes, dim=-1)]

    def _joined(self, planes: list[Tensor], attention: nn.Module) -> list[Tensor]:
        places = attention(torch.cat([plane.flatten(2) for plane in planes], dim=-1))
        parts = places.split([plane[0, 0].numel() for plane in planes], dim=-1)
        return [part.view_as(plane) for part, plane in zip(parts, planes, strict=True)]


def _through(block: nn.ModuleList, plane: Tensor, time: Tensor) -> Tensor:
    for layer in block:
        plane = layer(plane) if isinstance(layer, nn.Conv2d) else layer(plane, time)
    return plane


def _swapped(x: Tensor) -> Tensor:
    a, b = rearrange(x, "... (d j) -> j ... d", j=2)
    return rearrange(torch.stack([-b, a]), "j ... d -> ... (d j)")


def _time_turn(frames: int) -> tuple[Tensor, Tensor]:
    rates = 1 / 1e4 ** (torch.arange(0, HEAD_CHANNELS, 2) / HEAD_CHANNELS)
    angles = repeat(torch.outer(torch.arange(frames), rates), "t d -> t (j d)", j=2)
    return angles.cos(), angles.sin()


def _space_turn(height: int, width: int) -> tuple[Tensor, Tensor]:
    scales = torch.logspace(0, log2(5), HEAD_CHANNELS // 4, base=2)
    rows = torch.outer(torch.linspace(-1, 1, height), scales) * pi
    columns = torch.outer(torch.linspace(-1, 1, width), scales) * pi
    both = torch.cat(
        [
            repeat(rows, "h d -> (h w) d", w=width),
            repeat(columns, "w d -> (h w) d", h=height),
        ],
        dim=-1,
    )
    angles = repeat(both, "n d -> n (d j)", j=2)
    return angles.cos(), angles.sin()
