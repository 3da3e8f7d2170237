"""The values that travel between the stages, and the clock they share.

Frozen dataclasses of CPU tensors and plain numbers, checked once, on construction. The host caches
them and hands the same object to several nodes, so nothing here is ever changed in place: use
`dataclasses.replace`.

Shape legend of the whole package: B batch, T video frames, S sound samples, K landmarks, C
channels, H height, W width.

Space: landmarks and translations live in image axes, x right, y down, z away from the viewer
(right-handed). Rotations are `(pitch, yaw, roll)` in degrees, `R = Rz(roll) · Ry(yaw) · Rx(pitch)`
on column vectors: positive pitch looks down, positive yaw turns the nose to the left of the
picture, positive roll tilts the head clockwise. The unit of length of anything that is not in
pixels is the inter-ocular distance: outer eye corner to outer eye corner (landmarks 36 and 45), in
three dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import torch
from torch import Tensor

MIN_FPS, MAX_FPS = Fraction(1), Fraction(120)
MOTION_SPACES = {"arkit52": (52,), "liveportrait": (21, 3), "landmarks68": (68, 3)}
KEYFRAME_PATHS = ("expression", "pose")


class PayloadError(ValueError):
    """Something the user gave cannot be used; the message says what was needed and what to do."""


def parse_fps(value: float | int | str | Fraction) -> Fraction:
    """Frames per second as an exact fraction; 29.97 becomes 30000/1001, 23.976 24000/1001.

    Raises:
        PayloadError: not a number, or outside 1 … 120.
    """
    try:
        exact = Fraction(value) if isinstance(value, (str, int, Fraction)) else Fraction(str(value))
    except (ValueError, ZeroDivisionError, TypeError):
        raise PayloadError(
            f"{value!r} is not a frame rate. Give a number such as 25, 29.97 or 30000/1001."
        ) from None
    ntsc = Fraction(ceil(exact) * 1000, 1001)
    if exact.denominator != 1 and abs(exact - ntsc) < Fraction(1, 200):
        exact = ntsc
    if not MIN_FPS <= exact <= MAX_FPS:
        raise PayloadError(f"{value} frames per second were asked for; 1 to 120 are possible.")
    return exact


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The one clock of a graph: which video frame belongs to which moment of the sound.

    `num_frames = ceil(num_samples · fps / sample_rate)`; frame i is centred at `(i + ½) / fps`
    seconds.
    """

    fps: Fraction
    num_frames: int
    sample_rate: int  # of the original sound, Hz
    num_samples: int  # of the original sound, per channel

    def __post_init__(self) -> None:
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise PayloadError(f"A timeline needs 1 to 120 frames per second, not {self.fps}.")
        if self.sample_rate < 1 or self.num_samples < 1:
            raise PayloadError(
                f"The sound is empty ({self.num_samples} samples at {self.sample_rate} Hz)."
                " Give a sound with at least one sample."
            )
        if self.num_frames != frames_for(self.num_samples, self.sample_rate, self.fps):
            raise PayloadError(
                f"{self.num_samples} samples at {self.sample_rate} Hz last"
                f" {frames_for(self.num_samples, self.sample_rate, self.fps)} frames"
                f" at {float(self.fps):g} fps, not {self.num_frames}."
            )

    @classmethod
    def for_sound(cls, num_samples: int, sample_rate: int, fps: float | str | Fraction) -> Timeline:
        """The timeline of a sound of `num_samples` per channel at `sample_rate` Hz."""
        rate = parse_fps(fps)
        frames = frames_for(num_samples, sample_rate, rate) if sample_rate > 0 else 0
        return cls(fps=rate, num_frames=frames, sample_rate=sample_rate, num_samples=num_samples)

    @classmethod
    def for_frames(cls, num_frames: int, fps: float | str | Fraction) -> Timeline:
        """A timeline for motion that has no sound: `num_frames` frames on a clock of 48 kHz."""
        rate = parse_fps(fps)
        return cls.for_sound(int(num_frames * 48000 / rate), 48000, rate)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.num_samples / self.sample_rate

    def frame_centres(self) -> Tensor:
        """Seconds at which the frames are centred, `[T]`, float64."""
        frames = torch.arange(self.num_frames, dtype=torch.float64)
        return (frames + 0.5) / float(self.fps)


def frames_for(num_samples: int, sample_rate: int, fps: Fraction) -> int:
    """`ceil(num_samples · fps / sample_rate)` in exact arithmetic: half an hour is exact too."""
    return ceil(Fraction(num_samples) * fps / sample_rate)


@dataclass(frozen=True, kw_only=True, eq=False)
class Portrait:
    """One face in one picture."""

    image: Tensor  # [H, W, 3] uint8, sRGB, the whole picture at full resolution
    landmarks: Tensor  # [68, 3] float32, source pixels (iBUG order), z scaled like x
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 of the face, source pixels
    crop: Tensor  # [3, 3] float64, affine from source pixels to crop pixels
    crop_size: int  # side of the square crop, pixels
    rotation: tuple[float, float, float]  # pitch, yaw, roll of the head in the picture, degrees
    dense: Tensor | None = None  # [478, 3] float32, MediaPipe's mesh, source pixels
    mask: Tensor | None = None  # [H, W] float32 in 0 … 1, where the face may change
    num_faces: int = 1  # how many faces the detector saw

    def __post_init__(self) -> None:
        _expect(self.image, "the portrait's image", (None, None, 3), torch.uint8)
        _expect(self.landmarks, "the portrait's landmarks", (68, 3), torch.float32)
        _expect(self.crop, "the portrait's crop", (3, 3), torch.float64)
        if self.dense is not None:
            _expect(self.dense, "the portrait's dense landmarks", (478, 3), torch.float32)
        if self.mask is not None:
            _expect(self.mask, "the portrait's mask", tuple(self.image.shape[:2]), torch.float32)
        if float(self.interocular) < 1e-3:
            raise PayloadError(
                "The outer eye corners (landmarks 36, 45) fall on one point. Check the landmarks."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def interocular(self) -> Tensor:
        """Distance between the outer eye corners in three dimensions, pixels."""
        return (self.landmarks[45] - self.landmarks[36]).norm()


@dataclass(frozen=True, kw_only=True, eq=False)
class Speech:
    """What speech encoders heard, one row per video frame."""

    streams: Mapping[str, Tensor]  # name -> [T, D] float32, on the timeline
    timeline: Timeline

    def __post_init__(self) -> None:
        for name, stream in self.streams.items():
            _expect(stream, f"the speech stream '{name}'", (self.timeline.num_frames, None))

    def stream(self, name: str, needed_by: str) -> Tensor:
        """The stream `[T, D]` called `name`, or an error that says which there are."""
        if name not in self.streams:
            raise PayloadError(
                f"{needed_by} needs the speech stream '{name}'; this speech has"
                f" {', '.join(self.streams) or 'none'}. Encode the sound with the"
                " matching speech encoder."
            )
        return self.streams[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframes:
    """Moments that matter, per path ("expression", "pose")."""

    marks: Mapping[str, Tensor]  # path -> [T] bool
    strength: Mapping[str, Tensor]  # path -> [T] float32, 0 where there is no mark
    timeline: Timeline

    def __post_init__(self) -> None:
        if set(self.marks) != set(self.strength) or not set(self.marks) <= set(KEYFRAME_PATHS):
            raise PayloadError(
                f"Keyframes need marks and strength for the paths {KEYFRAME_PATHS},"
                f" not {sorted(self.marks)} and {sorted(self.strength)}."
            )
        for path in self.marks:
            frames = (self.timeline.num_frames,)
            _expect(self.marks[path], f"the {path} keyframes", frames, torch.bool)
            _expect(self.strength[path], f"the strength of the {path} keyframes", frames)


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """How the face moves relative to the portrait: zeros with scale 1 are the portrait as it is."""

    space: str  # "arkit52", "liveportrait" or "landmarks68"
    values: Tensor  # [T, 52] weights 0 … 1, [T, 21, 3], or [T, 68, 3] inter-ocular distances
    rotation: Tensor  # [T, 3] pitch, yaw, roll in degrees, on top of the portrait's own pose
    translation: Tensor  # [T, 3] inter-ocular distances
    scale: Tensor  # [T] factor, 1 = as in the portrait
    timeline: Timeline
    notes: tuple[str, ...] = field(default=())  # what happened on the way, for the user to read

    def __post_init__(self) -> None:
        if self.space not in MOTION_SPACES:
            raise PayloadError(f"'{self.space}' is not one of {', '.join(MOTION_SPACES)}.")
        frames = self.timeline.num_frames
        _expect(self.values, f"{self.space} motion", (frames, *MOTION_SPACES[self.space]))
        _expect(self.rotation, "the head rotation", (frames, 3))
        _expect(self.translation, "the head translation", (frames, 3))
        _expect(self.scale, "the head scale", (frames,))


@dataclass(frozen=True, kw_only=True, eq=False)
class GuidedNoise:
    """Identity frames whose moving regions are noise, where a guided renderer starts from."""

    frames: Tensor  # [T, 3, H, W] float32, 0 … 1 before noise
    mask: Tensor  # [T, 1, H, W] float32, 1 = free to move
    portrait: Portrait
    whole_picture: bool = False  # squeezed into the square, as published, instead of its crop

    def __post_init__(self) -> None:
        _expect(self.frames, "the guided noise", (None, 3, None, None), torch.float32)
        frames, _, height, width = self.frames.shape
        _expect(self.mask, "the guide mask", (frames, 1, height, width), torch.float32)


def _expect(
    tensor: Tensor, name: str, shape: tuple[int | None, ...], dtype: torch.dtype = torch.float32
) -> None:
    """Raise unless `tensor` is a finite CPU tensor of this dtype and shape (None: any size)."""
    fits = isinstance(tensor, Tensor) and tensor.ndim == len(shape)
    if not fits or any(
        want not in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
    ):
        wanted = " × ".join("any" if size is None else str(size) for size in shape)
        given = " × ".join(map(str, getattr(tensor, "shape", ()))) or type(tensor).__name__
        raise PayloadError(f"{name[0].upper()}{name[1:]} must be {wanted}, but {given} was given.")
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise PayloadError(
            f"{name[0].upper()}{name[1:]} must be {dtype} on the CPU,"
            f" but {tensor.dtype} on {tensor.device} was given."
        )
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise PayloadError(
            f"{name[0].upper()}{name[1:]} contains NaN or infinite values. Look for them upstream."
        )
