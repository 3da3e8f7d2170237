"""Speech to LivePortrait motion with KDTalker (Yang et al. 2025): windows of 64 frames at 25 fps.

Stage 3. The default mode goes over the seams of the published program: windows overlap, nothing
wraps around, any length and frame rate works. `mode="reference"` is the published program.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech, Timeline, frames_for
from ..render.liveportrait.keypoints import (
    NUM_KEYPOINTS,
    LivePortraitSource,
    Pose,
    motion_from_pose,
    rotation_matrix,
)
from ..render.liveportrait.source import crop_picture, cropped, find_source
from ..sampling import (
    OnStep,
    Schedule,
    add_noise,
    alphas_cumprod,
    linear_betas,
    part_of,
    sample_ddim,
    seeded_noise,
    spaced_timesteps,
)
from . import kalman
from .kdtalker import KDTalker

ASSETS = Path(__file__).resolve().parents[2] / "assets"
FPS = Fraction(25)
WINDOW = 64  # frames the network was trained on, 2.56 s
OVERLAP = 16  # frames in which a window fades into the next
CHANNELS = 70
BETAS = (1e-5, 8e-3)
STEPS = {"default": 10, "reference": 50}  # Table 6: the lips are best with 5 to 10
SCALE, ANGLES, SHIFT, EXPRESSION = slice(0, 1), (2, 1, 3), slice(4, 7), slice(7, 70)


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What standardised motion is multiplied with and added to."""

    motion_mean: Tensor  # [70] scale, yaw, pitch, roll, t (3), exp (63)
    motion_deviation: Tensor  # [70]
    keypoints_mean: Tensor  # [63]
    keypoints_deviation: Tensor  # [63]


@cache
def statistics() -> Statistics:
    """Those of the training data; source and licence stand in the file."""
    stored = json.loads((ASSETS / "kdtalker_statistics.json").read_text(encoding="utf-8"))
    return Statistics(**{name: torch.tensor(stored[name]) for name in Statistics.__annotations__})


def references(source: LivePortraitSource) -> tuple[Tensor, Tensor]:
    """Who speaks, and the motion before the first frame: `[70]` each, standardised."""
    known = statistics()
    keypoints = (source.kp.flatten() - known.keypoints_mean) / known.keypoints_deviation
    angles = torch.tensor([source.scale, source.yaw, source.pitch, source.roll])
    motion = torch.cat([angles, source.t, source.exp.flatten()])
    identity = torch.cat([torch.zeros(CHANNELS - len(keypoints)), keypoints])
    return identity, (motion - known.motion_mean) / known.motion_deviation


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where a window lies in the clip, and how many of its first frames exist already."""

    start: int
    known: int


def plan_windows(num_frames: int, mode: str = "default") -> list[Window]:
    """The windows that cover a clip, in order.

    By default neighbours share at least 16 frames, and the last one ends with the clip instead of
    reaching beyond it.
    """
    if mode == "reference":
        return [Window(start=start, known=0) for start in range(0, num_frames, WINDOW)]
    windows, end = [Window(start=0, known=0)], WINDOW
    while end < num_frames:
        start = min(end - OVERLAP, num_frames - WINDOW)
        windows.append(Window(start=start, known=end - start))
        end = start + WINDOW
    return windows


def clip_noise(num_frames: int, seed: int, mode: str = "default") -> Tensor:
    """Noise for every frame of whole windows, `[≥ T, 70]`; a longer clip begins with the same.

    In the reference mode it is what the published program draws after `torch.manual_seed(seed)`
    on the CPU, four-dimensional and mostly unused.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = range(ceil(num_frames / WINDOW))
    if mode == "reference":
        drawn = [seeded_noise((1, WINDOW, CHANNELS, 3), generator)[0, ..., 0] for _ in blocks]
    else:
        drawn = [seeded_noise((WINDOW, CHANNELS), generator) for _ in blocks]
    return torch.cat(drawn)


@dataclass(kw_only=True, eq=False)
class KDTalkerMotion:
    """KDTalker as a motion model: space "liveportrait", from the speech stream "wav2lip"."""

    network: KDTalker
    extractor: nn.Module | None = None  # LivePortrait's, which finds the state of a portrait's face
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # of the networks
    crop: str = "face"  # how the portrait is cut out for the extractor
    mode: str = "default"  # of sampling, where `sample` is not told otherwise
    use_scale: bool = False  # let the head come nearer as predicted; the default keeps its size
    use_translation: bool = False  # let the head shift as predicted; the default keeps its place
    smoothing: bool = True  # by a Kalman filter, which the published program has too

    def sample(
        self,
        speech: Speech,
        portrait: Portrait | LivePortraitSource | None = None,
        keyframes: Keyframes | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
        mode: str | None = None,
    ) -> Motion:
        """Motion for the whole speech.

        Args:
            speech: with the stream "wav2lip".
            portrait: who speaks, or what the motion extractor found in the portrait.
            keyframes: not used by this model.
            steps: of diffusion; 10 by default, 50 in the reference mode.
            guidance: none was trained; 1 is accepted.
            seed: the same seed gives the same motion on every device.
            on_step: called with (denoising steps done, in all).
            mode: "default", or "reference" for the published program: no overlap, the end hears
                the beginning, predicted translation, the portrait's scale.

        Raises:
            PayloadError: the stream or the portrait is absent, or an option is impossible.
        """
        mode = self.mode if mode is None else mode
        _check_options(mode, guidance)
        source = self._source(portrait)
        stream = speech.stream("wav2lip", needed_by="KDTalker")
        timeline = speech.timeline
        count = frames_for(timeline.num_samples, timeline.sample_rate, FPS)
        features = resample(stream, timeline.fps, FPS, count).clamp(min=0)
        if mode == "reference":  # which hears whole frames only
            whole = ceil(Fraction(timeline.num_samples) * 16000 / timeline.sample_rate) // 640
            features = features[: max(whole, 1)]
        noise = clip_noise(len(features), seed, mode)
        standardised = self.sample_standardised(
            features, source, noise, steps=steps, on_step=on_step, mode=mode
        )
        vectors = self.unstandardise(standardised)
        held = torch.arange(count).clamp(max=len(vectors) - 1)
        vectors = resample(vectors[held], FPS, timeline.fps, timeline.num_frames)
        return self._motion(vectors, source, timeline, mode)

    @torch.no_grad()
    def sample_standardised(
        self,
        features: Tensor,
        source: LivePortraitSource,
        noise: Tensor,
        *,
        steps: int | None = None,
        on_step: OnStep | None = None,
        mode: str = "default",
    ) -> Tensor:
        """What the network says, before it is given units: `[N, 70]` at 25 fps.

        Args:
            features: the stream "wav2lip" at 25 fps, `[N, 512]`.
            source: who speaks.
            noise: where sampling starts, one row per frame of whole windows, `[≥ N, 70]`.
            steps, on_step, mode: as in `sample`.
        """
        steps = STEPS[mode] if steps is None else steps
        timesteps = spaced_timesteps(steps)
        table = self.network.time_table(torch.tensor(timesteps, device=self.device))
        identity, before = references(source)
        windows = plan_windows(len(features), mode)
        clip = noise.new_zeros(max(len(features), WINDOW, len(noise)), CHANNELS)
        for i, window in enumerate(windows):
            frames = torch.arange(window.start, window.start + WINDOW)
            wrapped = frames % len(features) if mode == "reference" else frames
            heard = features[wrapped.clamp(max=len(features) - 1)]
            previous = clip[window.start - 1] if window.start > 0 else before
            sampler = _WindowSampler(
                network=self.network,
                device=self.device,
                times=dict(zip(timesteps, table.split(1), strict=True)),
                heard=heard,
                references=torch.stack([identity, previous]),
                noise=noise[frames],
                old=clip[frames],
                known=window.known,
            )
            clip[frames] = sampler.sample(part_of(on_step, i, len(windows)))
        return clip[: len(features)]

    def unstandardise(self, standardised: Tensor) -> Tensor:
        """Motion in its units, `[N, 70]`, smoothed; the scale is left as it is."""
        known = statistics()
        vectors = standardised * known.motion_deviation + known.motion_mean
        if not self.smoothing:
            return vectors
        return torch.cat([vectors[:, SCALE], kalman.smooth(vectors[:, 1:])], dim=1)

    def pose(self, vectors: Tensor, source: LivePortraitSource, mode: str = "default") -> Pose:
        """The absolute pose that motion vectors `[T, 70]` mean for this portrait."""
        count = len(vectors)
        moved = self.use_translation or mode == "reference"
        scaled = self.use_scale and mode != "reference"
        return Pose(
            exp=vectors[:, EXPRESSION].reshape(count, NUM_KEYPOINTS, 3),
            rotation=rotation_matrix(vectors[:, ANGLES]),
            t=vectors[:, SHIFT] if moved else source.t.expand(count, 3),
            scale=vectors[:, 0] if scaled else torch.full((count,), source.scale),
        )

    def _motion(
        self, vectors: Tensor, source: LivePortraitSource, timeline: Timeline, mode: str
    ) -> Motion:
        return motion_from_pose(source, self.pose(vectors, source, mode), timeline)

    def _source(self, portrait: Portrait | LivePortraitSource | None) -> LivePortraitSource:
        if isinstance(portrait, LivePortraitSource):
            return portrait
        if portrait is None or self.extractor is None:
            lacking = "a portrait" if portrait is None else "LivePortrait's motion extractor"
            raise PayloadError(
                f"KDTalker moves a particular face and needs {lacking} to know it. Give it one."
            )
        portrait = cropped(portrait, self.crop)
        return find_source(self.extractor, portrait, crop_picture(portrait).to(self.device))


@dataclass(frozen=True, kw_only=True, eq=False)
class _WindowSampler:
    """One window: what it hears, where it starts from, and the frames it has to continue."""

    network: KDTalker
    device: torch.device
    times: dict[int, Tensor]  # per timestep its row of the network's table
    heard: Tensor  # [64, 512]
    references: Tensor  # [2, 70]
    noise: Tensor  # [64, 70]
    old: Tensor  # [64, 70], of which the first `known` frames exist
    known: int

    def sample(self, on_step: OnStep | None) -> Tensor:
        """The window's frames `[64, 70]`, standardised, on the CPU."""
        device = self.device
        references, old, noise = (x.to(device) for x in (self.references, self.old, self.noise))
        fade = self._fade().to(device)
        silence = self.heard.new_zeros(len(references), self.heard.shape[1])
        context = torch.cat([silence, self.heard]).to(device)
        conditioning = self.network.condition(context[None])

        def denoise(noisy: Tensor, timestep: int) -> Tensor:
            tokens = torch.cat([references, noisy])[None]
            return self.network.step(tokens, self.times[timestep], conditioning)[
                0, len(references) :
            ]

        def continue_old(sample: Tensor, alpha: float) -> Tensor:
            # The frames that exist are shown as they look in this step, from the same noise.
            return torch.lerp(sample, add_noise(old, noise, alpha), fade)

        new = sample_ddim(
            denoise,
            noise,
            Schedule(alphas=alphas_cumprod(linear_betas(*BETAS))),
            steps=len(self.times),
            constrain=continue_old if self.known else None,
            on_step=on_step,
        )
        return torch.lerp(new, old, fade).cpu()

    def _fade(self) -> Tensor:
        """How much of each frame is the earlier window's, `[64, 1]`."""
        left = self.known - torch.arange(WINDOW)
        return (left / (OVERLAP + 1)).clamp(0, 1)[:, None]


def resample(values: Tensor, rate: Fraction, new_rate: Fraction, count: int) -> Tensor:
    """Curves `[N, C]` at another frame rate, `[count, C]`, through all given points.

    Cubic between frames (Catmull & Rom 1974); frame i is centred at `(i + ½) / rate`, and beyond
    the first and last frame the curve stays where it is.
    """
    if rate == new_rate and count == len(values):
        return values
    centres = torch.arange(count, dtype=torch.float64) + 0.5
    position = (centres * float(rate / new_rate) - 0.5).clamp(0, len(values) - 1)
    left = position.floor().long()
    a, b, c, d = (values[(left + i).clamp(0, len(values) - 1)] for i in (-1, 0, 1, 2))
    x = (position - left).to(values)[:, None]
    slope, end_slope = (c - a) / 2, (d - b) / 2
    bend = 3 * (c - b) - 2 * slope - end_slope
    return b + x * (slope + x * (bend + x * (slope + end_slope - 2 * (c - b))))


def _check_options(mode: str, guidance: float | None) -> None:
    if mode not in STEPS:
        raise PayloadError(f"KDTalker has the modes {', '.join(STEPS)}, not '{mode}'.")
    if guidance not in (None, 1):
        raise PayloadError(
            f"KDTalker was trained without guidance; {guidance} cannot be used. Set it to 1."
        )


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    motion_extractor: str | Path | None = None,
    *,
    operations: ModuleType | Any = nn,
    crop: str = "face",
) -> KDTalkerMotion:
    """KDTalker with the published weights.

    Args:
        device: where it computes.
        path: KDTalker's file.
        motion_extractor: LivePortrait's file; without it `sample` wants a `LivePortraitSource`.
        operations: namespace the layers come from.
        crop: how the portrait is cut out for the motion extractor; "kdtalker" is the published way.

    Raises:
        CheckpointError: a file is absent or cannot be used.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "KDTalker needs its weights: give the path of 'KDTalker.pth'."
        )
    network = checkpoints.load("kdtalker", path, operations).to(device)
    extractor = None
    if motion_extractor is not None:
        extractor = checkpoints.load("liveportrait/motion", motion_extractor, operations).to(device)
    return KDTalkerMotion(
        network=cast(KDTalker, network),
        extractor=extractor,
        device=torch.device(device),
        crop=crop,
    )
