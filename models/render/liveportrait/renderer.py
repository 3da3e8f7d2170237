"""LivePortrait's contract: portrait and motion → frames. Stage 5.

The portrait is encoded once; per frame the warping network and the generator run, and the crop is
pasted back into the full picture, all on the renderer's device. Coordinates stay in float32
whatever the precision of the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ... import catalogue, checkpoints
from ...payloads import Motion, PayloadError, Portrait
from ...portrait.paste import PasteBack
from .keypoints import LivePortraitSource
from .performance import DEFAULTS, Performance, corrected_keypoints, driving_keypoints
from .source import crop_picture, cropped, find_source
from .warping import WarpingSource

FILES = {
    "appearance": "appearance_feature_extractor",
    "motion": "motion_extractor",
    "warping": "warping_module",
    "generator": "spade_generator",
    "stitching": "stitching_retargeting_module",
    "retarget_lip": "stitching_retargeting_module",
    "retarget_eye": "stitching_retargeting_module",
}
"""Network → the published file it is in, without its suffix."""
NETWORKS = tuple(FILES)
PRECISIONS = (torch.float32, torch.float16, torch.bfloat16)
FEATHER = 1 / 16  # of the crop's side, twice the published mask's


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPortrait:
    """Everything that depends on the portrait alone."""

    portrait: Portrait  # with LivePortrait's crop
    source: LivePortraitSource
    warping: WarpingSource


class LivePortraitRenderer:
    """Renders motion of the space "liveportrait" with published weights.

    Args:
        networks: the seven of `NETWORKS`, by name, in float32.
        device: where everything runs.
        dtype: precision of warping network and generator; the encoders stay in float32.
        compiled: compile these two with `torch.compile`; slow at the first frame.
        defaults: how motion is performed where `render` is not told otherwise.

    Raises:
        PayloadError: another precision.
    """

    space = "liveportrait"

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        compiled: bool = False,
        defaults: Performance = DEFAULTS,
    ) -> None:
        if dtype not in PRECISIONS:
            raise PayloadError(f"LivePortrait computes in {PRECISIONS}, not in {dtype}.")
        self.device, self.dtype, self.defaults = torch.device(device), dtype, defaults
        self.networks: dict[str, Any] = {name: networks[name].to(self.device) for name in NETWORKS}
        self._set_precision(dtype)
        paint: Callable[[WarpingSource, Tensor], Tensor] = self._warp_and_generate
        self._paint = torch.compile(paint) if compiled else paint

    def performing(self, performance: Performance) -> LivePortraitRenderer:
        """The same networks with other `defaults`."""
        renderer = copy(self)
        renderer.defaults = performance
        return renderer

    def compiling(self) -> LivePortraitRenderer:
        """The same networks, compiled when they first run."""
        renderer = copy(self)
        renderer._paint = torch.compile(self._warp_and_generate)
        return renderer

    def source(self, portrait: Portrait, crop: str = "face") -> LivePortraitSource:
        """The state of the portrait's face, which absolute LivePortrait motion is measured from."""
        portrait = cropped(portrait, crop)
        picture = crop_picture(portrait).to(self.device)
        return find_source(self.networks["motion"], portrait, picture)

    @torch.no_grad()
    def encode(self, portrait: Portrait, crop: str = "face") -> EncodedPortrait:
        """Both encoders, once per portrait."""
        portrait = cropped(portrait, crop)
        picture = crop_picture(portrait).to(self.device)
        source = find_source(self.networks["motion"], portrait, picture)
        volume = self.networks["appearance"](picture).to(self.dtype)
        keypoints = source.keypoints.to(self.device)
        warping = self.networks["warping"].prepare(volume, keypoints)
        return EncodedPortrait(portrait=portrait, source=source, warping=warping)

    def render(
        self,
        portrait: Portrait,
        motion: Motion,
        *,
        batch: int = 8,
        on_frame: Callable[[int, int], None] | None = None,
        performance: Performance | None = None,
    ) -> Iterator[Tensor]:
        """The frames of a motion, `batch` at a time.

        Args:
            portrait: whose face it is.
            motion: in the space `liveportrait`.
            batch: frames per tensor, and, except on a CPU, per run of the networks; changes
                nothing else.
            on_frame: called with (frames done, frames in all) after every run of the networks.
            performance: how the motion is performed; the renderer's `defaults` otherwise.

        Yields:
            `[b, H, W, 3]` uint8 on the CPU: the portrait's full picture, or `[b, 512, 512, 3]`.

        Raises:
            PayloadError: motion of another space, or NaN out of the networks in float32.
        """
        performance = performance or self.defaults
        encoded = self.encode(portrait, performance.crop)
        keypoints = driving_keypoints(encoded.source, motion, performance)
        finish = self._finisher(encoded.portrait, performance)
        total = len(keypoints)
        # A CPU gains nothing from larger runs, which only delay an interrupt and cost memory.
        run = 1 if self.device.type == "cpu" else batch
        for start in range(0, total, batch):
            frames = []
            for first in range(start, min(start + batch, total), run):
                part = keypoints[first : min(first + run, start + batch)]
                frames.append(finish(self._frames(encoded, part, performance)).cpu())
                if on_frame:
                    on_frame(first + len(part), total)
            yield torch.cat(frames)

    @torch.no_grad()
    def _frames(
        self, encoded: EncodedPortrait, keypoints: Tensor, performance: Performance
    ) -> Tensor:
        """Crops `[b, 3, 512, 512]` in 0 … 1 for keypoints `[b, 21, 3]`."""
        keypoints = corrected_keypoints(
            keypoints.to(self.device),
            encoded.warping.keypoints,
            encoded.portrait,
            self.networks,
            performance,
        )
        frames = self._paint(encoded.warping, keypoints)
        if self.dtype != torch.float32 and not torch.isfinite(frames).all():
            frames = self._in_full_precision(encoded, keypoints)
        if not torch.isfinite(frames).all():
            raise PayloadError(
                "LivePortrait's generator returned NaN in float32 too. The weights or the motion"
                " are damaged: download the weights again, or look at the motion's values."
            )
        return frames.float()

    def _warp_and_generate(self, source: WarpingSource, keypoints: Tensor) -> Tensor:
        return self.networks["generator"](self.networks["warping"].warp(source, keypoints))

    def _in_full_precision(self, encoded: EncodedPortrait, keypoints: Tensor) -> Tensor:
        """The same frames in float32; half precision overflows on some cards and some faces."""
        warping = encoded.warping
        tensors = {name: getattr(warping, name).float() for name in WarpingSource.__annotations__}
        self._set_precision(torch.float32)
        try:
            return self._warp_and_generate(replace(warping, **tensors), keypoints)
        finally:
            self._set_precision(self.dtype)

    def _set_precision(self, dtype: torch.dtype) -> None:
        for name in ("warping", "generator"):
            self.networks[name].to(dtype)

    def _finisher(self, portrait: Portrait, performance: Performance) -> Callable[[Tensor], Tensor]:
        """What makes frames `[b, H, W, 3]` uint8 of crops `[b, 3, 512, 512]`."""
        paste = PasteBack(portrait, feather=FEATHER, device=self.device)

        def finish(crops: Tensor) -> Tensor:
            pixels = (crops.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
            return paste(pixels) if performance.paste_back else pixels

        return finish


def load(
    device: torch.device | str = "cpu",
    folder: str | Path | tuple[str | Path, ...] | None = None,
    *,
    operations: ModuleType | Any = nn,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    defaults: Performance = DEFAULTS,
) -> LivePortraitRenderer:
    """The renderer with the published weights, original `.pth` or the safetensors made of them.

    Args:
        device: where it computes.
        folder: with the files, flat or in the original's folders; or several, as in the host.
        operations: namespace the layers come from.
        dtype, compiled, defaults: as for `LivePortraitRenderer`.

    Raises:
        PayloadError: a file is absent or cannot be used; the message says which one.
    """
    folders = folder if isinstance(folder, tuple) else () if folder is None else (folder,)
    files = catalogue.files_of("liveportrait", folders)
    networks = {
        name: checkpoints.load(
            f"liveportrait/{name}", files[f"liveportrait/{FILES[name]}"], operations
        )
        for name in NETWORKS
    }
    return LivePortraitRenderer(
        networks, device=device, dtype=dtype, compiled=compiled, defaults=defaults
    )
