"""What wav2vec 2.0 and HuBERT hear in a voice: hidden states of published networks, 50 a second.

Stage 1. The network is transformers' own; its files stay on this machine: a folder with
`config.json` and weights, or one weight file, as the host keeps them in `models/audio_encoders`.
Baevski et al. 2020 and Hsu et al. 2021 share one architecture, so one class listens with both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import PayloadError

SAMPLE_RATE = 16000  # Hz
HOP, WINDOW = 320, 400  # samples of 16 kHz: from feature to feature, and that one feature hears
RATE = SAMPLE_RATE // HOP  # features per second
CENTRED = WINDOW // 2  # samples of padding with which feature k is centred at k / 50 s
EVEN = (WINDOW - HOP) // 2  # samples of padding with which n seconds give exactly 50 · n features
PIECE, OVERLAP = 1000, 100  # features computed at a time, 20 s, of which 2 s fade into each other
LEVEL_PIECE = 32000  # steps of the first convolution at a time, 10 s
HEAD = 64  # channels of an attention head in every published size
STRIDES = (5, 2, 2, 2, 2, 2, 2)  # of the convolutions; their kernels are read off the weights
KINDS = ("wav2vec2", "hubert")
POSITION = "encoder.pos_conv_embed.conv"
StateDict = dict[str, Tensor]


class Wav2Vec2Features:
    """Sound at 16 kHz → hidden states at 50 Hz, in constant memory."""

    def __init__(
        self,
        network: Any,
        device: str | torch.device = "cpu",
        *,
        layers: tuple[int, ...] | None = None,
        normalise: bool = True,
        padding: int = 0,
    ) -> None:
        """A network that listens.

        Args:
            network: transformers' Wav2Vec2Model or HubertModel.
            device: where it computes.
            layers: which hidden states are averaged, 0 (before the first layer) up to the number of
                layers; by default the last one alone, after the final norm.
            normalise: whether the whole sound gets mean 0 and variance 1, as most were trained.
            padding: samples mirrored at both ends; `CENTRED`, `EVEN`, or 0 as published.

        Raises:
            PayloadError: the network has no such layer.
        """
        self.network = network.to(device)
        self.device = torch.device(device)
        self.layers, self.normalise, self.padding = layers, normalise, padding
        depth = int(network.config.num_hidden_layers)
        wrong = [layer for layer in layers or () if not 0 <= layer <= depth]
        if wrong:
            raise PayloadError(
                f"Hidden state {wrong[0]} was asked for; this network has 0 to {depth}."
            )

    @property
    def width(self) -> int:
        """Channels of a feature."""
        return int(self.network.config.hidden_size)

    @torch.no_grad()
    def features(
        self,
        sound: Tensor,
        on_step: Callable[[int, int], None] | None = None,
        *,
        piece: int = PIECE,
        overlap: int = OVERLAP,
    ) -> Tensor:
        """Hidden states of a sound of any length.

        Sounds longer than `piece` are heard in overlapping pieces that fade into each other: what
        attention would hear further away is lost, memory stays that of a piece.

        Args:
            sound: `[S]` float, −1 … 1, at 16 kHz.
            on_step: called with (pieces done, pieces in total).
            piece: features computed at a time.
            overlap: features that two pieces share, at least.

        Returns:
            `[feature_count(S + 2 · padding), D]` float32 on the CPU.
        """
        sound = padded(self.prepared(sound), self.padding)
        count = feature_count(len(sound))
        starts, size = piece_starts(count, piece, overlap), min(piece, count)
        heard = torch.zeros(count, self.width)
        hook = self._norm_over_all(sound) if len(starts) > 1 else None
        try:
            for done, start in enumerate(starts):
                heard[start : start + size] += self._faded(sound, starts, done, size)
                if on_step:
                    on_step(done + 1, len(starts))
        finally:
            if hook:
                hook.remove()
        return heard

    def _faded(self, sound: Tensor, starts: list[int], number: int, size: int) -> Tensor:
        """Piece `number` of the features, faded where it overlaps with its neighbours."""
        start, last = starts[number], number + 1 == len(starts)
        # The last piece hears the few samples behind its last feature too, as the whole would.
        stop = len(sound) if last else (start + size - 1) * HOP + WINDOW
        before = starts[number - 1] + size - start if number else 0
        after = 0 if last else start + size - starts[number + 1]
        return self.hear(sound[start * HOP : stop]) * fades(size, before, after)[:, None]

    def _norm_over_all(self, sound: Tensor) -> Any:
        """Make the norm over time of the smaller networks one over `sound [S]`, not over a piece.

        Returns:
            What undoes it with `remove()`, or None for networks without such a norm.
        """
        layer = self.network.feature_extractor.conv_layers[0]
        norm = getattr(layer, "layer_norm", None)
        if not isinstance(norm, nn.GroupNorm):
            return None
        dtype = next(self.network.parameters()).dtype
        mean, variance = channel_level(layer.conv, sound.to(dtype), self.device)
        scale = norm.weight.float() * (variance + norm.eps).rsqrt()
        shift = norm.bias.float() - mean * scale

        def normalised(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> Tensor:
            return inputs[0] * scale[:, None].to(inputs[0]) + shift[:, None].to(inputs[0])

        return norm.register_forward_hook(normalised)

    @torch.no_grad()
    def features_in_blocks(
        self,
        sound: Tensor,
        on_step: Callable[[int, int], None] | None = None,
        *,
        block: int = 1000,
    ) -> Tensor:
        """Hidden states as MoDiTalker's preparation computes them: block by block, no overlap.

        Each block of 1000 features hears nothing outside its samples, and zeros fill the end up to
        `(S − 80) // 320` features.

        Args:
            sound: `[S]` float at 16 kHz, at least 80 samples.
            on_step: called with (blocks done, blocks in total).
            block: features of a block.
        """
        sound = self.prepared(sound)
        count = max((len(sound) - (WINDOW - HOP)) // HOP, 0)
        heard = torch.zeros(count, self.width)
        starts = range(0, len(sound), block * HOP)
        for done, start in enumerate(starts):
            part = sound[start : start + (block - 1) * HOP + WINDOW]
            first = start // HOP
            if len(part) >= WINDOW and first < count:
                heard[first : first + block] = self.hear(part)[: count - first]
            if on_step:
                on_step(done + 1, len(starts))
        return heard

    def prepared(self, sound: Tensor) -> Tensor:
        """The sound `[S]` in float32, as loud as the network is used to."""
        sound = sound.float()
        if not self.normalise:
            return sound
        wide = sound.double()
        return ((wide - wide.mean()) / (wide.var(correction=0) + 1e-7).sqrt()).float()

    def hear(self, sound: Tensor) -> Tensor:
        """Hidden states `[K, D]` of a piece `[S]`, all at once."""
        dtype = next(self.network.parameters()).dtype
        found = self.network(
            sound[None].to(self.device, dtype), output_hidden_states=self.layers is not None
        )
        if self.layers is None:
            return found.last_hidden_state[0].float().cpu()
        chosen = [found.hidden_states[layer][0].float() for layer in self.layers]
        return torch.stack(chosen).mean(0).cpu()


def channel_level(
    convolution: nn.Module, sound: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and variance over time of a convolution's channels, `[C]` each, in constant memory.

    Args:
        convolution: the first one, over samples.
        sound: `[S]`.
        device: of the convolution.
    """
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]  # type: ignore
    count = (len(sound) - kernel) // stride + 1
    total = squares = torch.zeros((), dtype=torch.float64)
    for first in range(0, count, LEVEL_PIECE):
        steps = min(LEVEL_PIECE, count - first)
        part = sound[first * stride : (first + steps - 1) * stride + kernel]
        found = convolution(part[None, None].to(device))[0].double().cpu()
        total, squares = total + found.sum(1), squares + found.square().sum(1)
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    return mean.float().to(device), variance.float().to(device)


def feature_count(samples: int) -> int:
    """Features of a sound of `samples` at 16 kHz; one at least."""
    return max((samples - WINDOW) // HOP + 1, 1)


def padded(sound: Tensor, padding: int) -> Tensor:
    """`[S]` mirrored at both ends by `padding`, then with silence up to what one feature hears."""
    mirrored = min(padding, len(sound) - 1)
    if mirrored > 0:
        sound = nn.functional.pad(sound[None], (mirrored, mirrored), mode="reflect")[0]
    rest = padding - max(mirrored, 0)
    short = max(WINDOW - len(sound) - 2 * rest, 0)
    return nn.functional.pad(sound, (rest, rest + short))


def piece_starts(count: int, piece: int, overlap: int) -> list[int]:
    """Where pieces of `piece` features begin, evenly, so that neighbours share `overlap` or more.

    Raises:
        PayloadError: the overlap is as long as a piece.
    """
    if not 0 < overlap < piece:
        raise PayloadError(
            f"Pieces of {piece} features cannot overlap by {overlap}; give 1 to {piece - 1}."
        )
    if count <= piece:
        return [0]
    steps = ceil((count - piece) / (piece - overlap))
    return [round(step * (count - piece) / steps) for step in range(steps + 1)]


def fades(size: int, before: int, after: int) -> Tensor:
    """Weights `[size]` of a piece that shares so many features with its neighbours; sums are 1."""
    weights = torch.ones(size)
    if before:
        weights[:before] *= (torch.arange(before) + 0.5) / before
    if after:
        weights[size - after :] *= 1 - (torch.arange(after) + 0.5) / after
    return weights


def prepare(state: StateDict) -> StateDict:
    """Upstream's tensors with the weight norm of the position convolution multiplied out."""
    prepared = dict(state)
    for key in state:
        found = re.fullmatch(r"(.*pos_conv_embed\.conv)\.(weight_g|parametrizations\..*0)", key)
        if not found:
            continue
        name = found[1]
        directions = (f"{name}.weight_v", f"{name}.parametrizations.weight.original1")
        other = next((k for k in directions if k in state), None)
        if other:
            length, direction = prepared.pop(key).float(), prepared.pop(other).float()
            norm = direction.norm(dim=(0, 1), keepdim=True)
            prepared[f"{name}.weight"] = length * direction / norm
    return prepared


def build(
    state: Mapping[str, Tensor], metadata: Mapping[str, str], operations: ModuleType | Any = nn
) -> nn.Module:
    """The empty network, of the weights' sizes.

    Raises:
        PayloadError: the package transformers is not installed.
    """
    transformers = _transformers()
    network = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**sizes_of(state)))
    old = network.encoder.pos_conv_embed.conv  # has a weight norm, which `prepare` multiplied out
    network.encoder.pos_conv_embed.conv = operations.Conv1d(
        old.in_channels, old.out_channels, old.kernel_size, padding=old.padding, groups=old.groups
    )
    return network


def sizes_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration of transformers that fits these weights."""
    width, shared, kernel = state[f"{POSITION}.weight"].shape
    kernels = _numbered(state, r"feature_extractor\.conv_layers\.(\d+)\.conv\.weight")
    deep_norms = "feature_extractor.conv_layers.1.layer_norm.weight" in state
    return {
        "hidden_size": width,
        "num_hidden_layers": len(_numbered(state, r"encoder\.layers\.(\d+)\.layer_norm\.weight")),
        "num_attention_heads": max(width // HEAD, 1),
        "intermediate_size": state["encoder.layers.0.feed_forward.intermediate_dense.weight"].shape[
            0
        ],
        "conv_dim": tuple(weights.shape[0] for weights in kernels),
        "conv_kernel": tuple(weights.shape[2] for weights in kernels),
        "conv_stride": STRIDES[: len(kernels)],
        "conv_bias": "feature_extractor.conv_layers.0.conv.bias" in state,
        "feat_extract_norm": "layer" if deep_norms else "group",
        "do_stable_layer_norm": deep_norms,  # all published sizes have both or neither
        "num_conv_pos_embeddings": kernel,
        "num_conv_pos_embedding_groups": width // shared,
        "mask_time_prob": 0.0,  # leaves out a parameter that only training uses
        "mask_feature_prob": 0.0,
    }


def load(path: str | Path, device: str | torch.device = "cpu", **options: Any) -> Wav2Vec2Features:
    """Listen with the files at `path`.

    Args:
        path: a weight file of wav2vec 2.0 or HuBERT, or a folder as transformers saves it.
        device: where it computes.
        options: of `Wav2Vec2Features`.

    Raises:
        PayloadError: transformers is absent, or the files are not there or of another network.
    """
    path = Path(path)
    network = from_folder(path) if path.is_dir() else checkpoints.load("wav2vec2", path)
    return Wav2Vec2Features(network, device, **options)


def from_folder(folder: Path) -> nn.Module:
    """The network of a folder with `config.json` and weights; nothing is looked for elsewhere.

    Raises:
        PayloadError: transformers is absent, files are missing, or it is another network.
    """
    transformers = _transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True)
        if config.model_type not in KINDS:
            raise PayloadError(
                f"The folder '{folder.name}' holds a {config.model_type} network;"
                f" {' or '.join(KINDS)} is needed."
            )
        network = transformers.AutoModel.from_pretrained(
            str(folder), config=config, local_files_only=True
        )
    except (OSError, ValueError) as error:
        if isinstance(error, PayloadError):
            raise
        reason = str(error).strip().split("\n")[0][:120]
        raise PayloadError(
            f"The folder '{folder.name}' cannot be read ({reason}). It needs config.json and"
            " model.safetensors, as transformers saves them."
        ) from None
    return network.eval().requires_grad_(False)


def _numbered(state: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """The tensors whose names match, by the number in them."""
    found = ((re.fullmatch(pattern, key), key) for key in state)
    return [state[key] for _, key in sorted((int(m[1]), key) for m, key in found if m)]


def _transformers() -> ModuleType:
    try:
        import transformers
    except ImportError:
        raise PayloadError(
            "wav2vec 2.0 and HuBERT need the package transformers: `pip install transformers`."
        ) from None
    return transformers
