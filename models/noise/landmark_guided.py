"""Landmark-guided noise (ATL-Diff): an identity frame, noised where the face will move.

Stage 4. The landmarks of every frame are marked on a square around the face and blurred into a
guide; the portrait, seen through the square, gets noise in proportion to the guide and a little
everywhere: `x = identity + (guide + r_min) · noise`. A renderer that can start from it only has to
find what moves.

The default works from any motion at any size and length, frame by frame. `mode="reference"` is the
published arithmetic; the functions behind it take what the published program takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..motion.posed import posed_landmarks
from ..payloads import GuidedNoise, Motion, PayloadError, Portrait
from ..portrait.affine import extract_crop
from .blur import gaussian_blur, mark_points, usual_sigma

PUBLISHED_SIZE = 128  # pixels; kernels and sigmas are given for a square of this side
PUBLISHED_KERNELS = {"CREMA-D": 25, "MEAD": 11}
R_MIN = 0.1
MODES = ("default", "reference")
DISTRIBUTIONS = ("normal", "uniform")
NORMALISATIONS = ("rest", "frame", "clip")
BLOCK = 64  # frames marked and blurred at a time


@dataclass(frozen=True, kw_only=True)
class NoiseOptions:
    """How identity frames are noised."""

    size: int = PUBLISHED_SIZE  # side of the square, pixels
    kernel: int = 25  # of the blur, pixels of a square of 128: the same share of any other
    sigma: float = 0.0  # of the blur, in the same pixels; 0 = as usual for the kernel
    r_min: float = R_MIN  # noise where no landmark is near
    distribution: str = "normal"  # the published program's; "uniform" in 0 … 1 is the paper's
    # What counts as a guide of 1: "rest" the peak of the portrait at rest, "frame" each frame's own
    # peak, "clip" the highest of all frames.
    normalisation: str = "rest"
    seed: int = 0
    mode: str = "default"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PayloadError(f"Guided noise has the modes {', '.join(MODES)}, not '{self.mode}'.")
        for name, value, known in (
            ("distributions", self.distribution, DISTRIBUTIONS),
            ("normalisations", self.normalisation, NORMALISATIONS),
        ):
            if value not in known:
                raise PayloadError(
                    f"Guided noise knows the {name} {', '.join(known)}, not {value}."
                )
        if self.mode == "reference" and self.size != PUBLISHED_SIZE:
            raise PayloadError(
                f"The reference mode knows a square of {PUBLISHED_SIZE} pixels, not {self.size}."
            )
        if not 32 <= self.size <= 1024:
            raise PayloadError(f"A square of {self.size} pixels was asked for; 32 to 1024 work.")
        if not 1 <= self.kernel < PUBLISHED_SIZE or self.sigma < 0 or self.r_min < 0:
            raise PayloadError(
                f"Guided noise needs a kernel of 1 to {PUBLISHED_SIZE - 1} pixels, and sigma and"
                f" r_min of at least 0, not {self.kernel}, {self.sigma:g} and {self.r_min:g}."
            )

    @property
    def blur(self) -> tuple[int, float]:
        """Kernel and sigma in the square's own pixels; the kernel is odd."""
        zoom = self.size / PUBLISHED_SIZE
        sigma = self.sigma or usual_sigma(self.kernel)
        return 2 * round((self.kernel * zoom - 1) / 2) + 1, max(sigma * zoom, 0.1)


def guided_noise(
    portrait: Portrait,
    motion: Motion,
    options: NoiseOptions | None = None,
    *,
    start: int = 0,
    stop: int | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> GuidedNoise:
    """Noised identity frames `start … stop` of a motion, in the square of the portrait's crop.

    Any part of a clip is the same as in the whole clip, so a long one needs no more memory than
    its parts; only the normalisation "clip", and with it the reference mode, looks at all frames,
    a few at a time.

    Args:
        portrait: who will move.
        motion: in any space, with the movement of the head.
        options: the defaults where absent.
        start, stop: frames, the last one excluded; all by default.
        on_frame: called with (frames done, frames in all).

    Raises:
        PayloadError: an empty range, or landmarks outside the picture in the reference mode.
    """
    options = options or NoiseOptions()
    frames = range(motion.timeline.num_frames)[start:stop]
    if not frames:
        raise PayloadError(f"No frames lie between {start} and {stop}; give a longer range.")
    reference = options.mode == "reference"
    alone = options.normalisation != "clip" and not reference
    known = frames if alone else range(motion.timeline.num_frames)
    landmarks = posed_landmarks(motion, portrait, known)
    guide = (PublishedGuide if reference else Guide).of(portrait, landmarks, options)
    noised, masks = [], []
    for first in range(frames.start, frames.stop, BLOCK):
        block = range(first, min(first + BLOCK, frames.stop))
        places = range(block.start - known.start, block.stop - known.start)
        mask = guide.frames(places)[:, None]
        masks.append(mask)
        noised.append(guide.identity + (mask + options.r_min) * frame_noise(block, options))
        if on_frame:
            on_frame(block.stop - frames.start, len(frames))
    return GuidedNoise(
        frames=torch.cat(noised),
        mask=torch.cat(masks),
        portrait=portrait,
        whole_picture=reference,
    )


@dataclass(frozen=True, eq=False)
class Guide:
    """Where each frame of a motion is free to move."""

    identity: Tensor  # [3, size, size], 0 … 1
    points: Tensor  # [T, 68, 2], pixels of the square
    peak: Tensor | None  # [], of the blurred marks, where a guide is 1; None: each frame's own
    options: NoiseOptions

    @classmethod
    def of(cls, portrait: Portrait, landmarks: Tensor, options: NoiseOptions) -> Guide:
        """From landmarks `[T, 68, 3]` in source pixels."""
        affine = square_affine(portrait, options.size)
        points = _mapped(landmarks, affine)
        peak = None
        if options.normalisation == "rest":
            peak = blurred_marks(_mapped(portrait.landmarks[None], affine), options).max()
        elif options.normalisation == "clip":
            blocks = (blurred_marks(block, options).max() for block in points.split(BLOCK))
            peak = torch.stack(list(blocks)).max()
        identity = identity_picture(portrait, options.size)
        return cls(identity=identity, points=points, peak=peak, options=options)

    def frames(self, frames: range) -> Tensor:
        """The guides of some frames, `[n, size, size]` in 0 … 1."""
        chosen = self.points[frames.start : frames.stop]
        marks = torch.cat([blurred_marks(part, self.options) for part in chosen.split(BLOCK)])
        peak = marks.amax((1, 2), keepdim=True) if self.peak is None else self.peak
        return (marks / peak.clamp(min=1e-6)).clamp(0, 1)


def blurred_marks(points: Tensor, options: NoiseOptions) -> Tensor:
    """Marks of points `[T, 68, 2]`, blurred, before they are normalised: `[T, size, size]`."""
    return gaussian_blur(mark_points(points, options.size), *options.blur)


def square_affine(portrait: Portrait, size: int) -> Tensor:
    """The affine `[3, 3]` from source pixels to the pixels of a square of `size`.

    The square is that of the portrait's crop, its corners where the crop's corners are.
    """
    zoom = size / portrait.crop_size
    scale = torch.tensor(
        [[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2], [0, 0, 1]], dtype=torch.float64
    )
    return scale @ portrait.crop


def identity_picture(portrait: Portrait, size: int) -> Tensor:
    """The portrait in the square, `[3, size, size]` float32 in 0 … 1."""
    return extract_crop(portrait.image, square_affine(portrait, size), size).permute(2, 0, 1)


def frame_noise(frames: range, options: NoiseOptions) -> Tensor:
    """Noise `[n, 3, size, size]` on the CPU; a frame's depends on the seed and its number alone."""
    shape, drawn = (3, options.size, options.size), []
    for index in frames:
        generator = torch.Generator().manual_seed((options.seed * 1_000_003 + index) % 2**63)
        draw = torch.randn if options.distribution == "normal" else torch.rand
        drawn.append(draw(shape, generator=generator))
    return torch.stack(drawn)


def published_marks(landmarks: Tensor, size: int, kernel: int) -> Tensor:
    """Blurred marks of landmarks as the published program sets them: `[T, size, size]`.

    Args:
        landmarks: `[T, 2, 68]`, x and y as shares of the picture; 1 falls on the last but one of
            128 pixels, and every position is cut off to a whole pixel.
        size: side of the square, pixels.
        kernel: of the blur, pixels.

    Raises:
        PayloadError: landmarks outside the picture, which the published program cannot mark either.
    """
    pixels = (landmarks * 255 / 2).to(torch.int32).long()
    if pixels.min() < 0 or pixels.max() >= size:
        raise PayloadError(
            f"In the reference mode all landmarks must lie inside a picture of {size} pixels, but"
            f" they reach from {int(pixels.min())} to {int(pixels.max())}. Use the default mode."
        )
    marks = torch.zeros(len(landmarks), size, size)
    frame = torch.arange(len(landmarks))[:, None]
    marks[frame, pixels[:, 1], pixels[:, 0]] = 1
    return gaussian_blur(marks, kernel, usual_sigma(kernel))


def published_noise(
    identity: Tensor, landmarks: Tensor, noise: Tensor, kernel: int = 25, r_min: float = R_MIN
) -> tuple[Tensor, Tensor]:
    """The published arithmetic on what the published program holds.

    Args:
        identity: `[H, W, 3]` in 0 … 1, a square.
        landmarks: `[T, 2, 68]`, shares of the picture.
        noise: `[T, H, W, 3]`, from N(0, 1).
        kernel: of the blur, pixels.
        r_min: added to the guide.

    Returns:
        The noised frames `[1, 3, H, W, T]`, and the factor of the noise `[H, W, T]`.
    """
    marks = torch.cat([published_marks(p, len(identity), kernel) for p in landmarks.split(BLOCK)])
    factor = (marks - marks.min()) / (marks.max() - marks.min()) + r_min
    noised = identity + factor[..., None] * noise
    return noised.permute(3, 1, 2, 0)[None], factor.permute(1, 2, 0)


@dataclass(frozen=True, eq=False)
class PublishedGuide:
    """Where each frame is free to move, as the published program finds it."""

    identity: Tensor  # [3, 128, 128], 0 … 1, the whole picture squeezed into the square
    landmarks: Tensor  # [T, 2, 68], shares of the picture
    low: Tensor  # [], of the blurred marks of all frames, where a guide is 0 …
    high: Tensor  # … and where it is 1
    options: NoiseOptions

    @classmethod
    def of(cls, portrait: Portrait, landmarks: Tensor, options: NoiseOptions) -> PublishedGuide:
        """From landmarks `[T, 68, 3]` in source pixels: both coordinates are shares of the height.

        Raises:
            PayloadError: landmarks outside the picture.
        """
        shares = landmarks[..., :2].mT / portrait.size[0]
        blocks = (published_marks(p, options.size, options.kernel) for p in shares.split(BLOCK))
        low, high = zip(*(block.aminmax() for block in blocks), strict=True)
        return cls(
            identity=squeezed_picture(portrait, options.size),
            landmarks=shares,
            low=torch.stack(low).min(),
            high=torch.stack(high).max(),
            options=options,
        )

    def frames(self, frames: range) -> Tensor:
        """The guides of some frames, `[n, 128, 128]` in 0 … 1."""
        chosen = self.landmarks[frames.start : frames.stop]
        marks = published_marks(chosen, self.options.size, self.options.kernel)
        return (marks - self.low) / (self.high - self.low)


def squeezed_picture(portrait: Portrait, size: int) -> Tensor:
    """The whole picture in the square, its proportions lost: `[3, size, size]` in 0 … 1."""
    picture = portrait.image.permute(2, 0, 1)[None].float() / 255
    squeezed = F.interpolate(picture, (size, size), mode="bilinear", antialias=True)
    return squeezed[0].clamp(0, 1)


def _mapped(landmarks: Tensor, affine: Tensor) -> Tensor:
    """x and y of `[T, 68, 3]` through an affine, `[T, 68, 2]` float32."""
    flat = landmarks[..., :2].double()
    return (flat @ affine[:2, :2].T + affine[:2, 2]).float()
