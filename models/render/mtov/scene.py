"""What MToV is shown of a portrait and its motion: drawn landmarks and frames that hold the pose.

Stage 5. The published program takes the pose, the background and the upper half of the face from a
driving video. Here the warp renderer makes them from the portrait alone: the head turns, the eyes
blink, the mouth stays as it is in the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from ...motion.arkit import ARKIT52
from ...motion.posed import posed_landmarks
from ...motion.spaces import convert
from ...noise.blur import gaussian_blur
from ...payloads import Motion, PayloadError, Portrait
from ...portrait.affine import extract_crop, square_crop
from ...portrait.mapping import JAW, NOSE_BASE
from ..identity_diffusion.guidance import filled
from ..setup import Setup
from ..warp import WarpRenderer, few_threads
from .landmark_drawing import DRAWING, draw_landmarks, drawing_video, without_lower_half

INNER_LIPS = slice(60, 68)  # landmarks
LOWER_FACE = (*JAW[2:15], *reversed(NOSE_BASE))  # its outline
SOFTNESS = 0.02  # of its edge, standard deviation in sides of the square
LEAST_WEIGHT = 0.02  # what a speaking mouth adds to other weights when they are fitted
_UPPER_FACE = torch.tensor([name.startswith(("brow", "eye")) for name in ARKIT52])


class PoseFrames:
    """Pictures of the portrait in the pose of a motion, mouth and jaw as they are in the portrait.

    Args:
        portrait: whose face it is.
        motion: in any space; of its expression only eyes and brows are shown.
        setup: what the warp renderer made of the portrait; made when first needed without it.
    """

    def __init__(self, portrait: Portrait, motion: Motion, setup: Setup | None = None) -> None:
        self.portrait, self.motion = portrait, unspoken(motion, portrait)
        self._warp = WarpRenderer()
        self._setup = setup
        self._made: dict[int, Tensor] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        """`[len(frames), H, W, 3]` uint8 on the CPU; going forward makes each frame once."""
        wanted = frames.tolist()
        self._made = {i: made for i, made in self._made.items() if i >= min(wanted)}
        for i in wanted:
            if i not in self._made:
                self._made[i] = self._picture(i)
        return torch.stack([self._made[i] for i in wanted])

    def _picture(self, i: int) -> Tensor:
        if self._setup is None:
            self._setup = self._warp.prepare(self.portrait)
        with few_threads(self._setup.box):
            return self._warp.frame(
                self._setup,
                self.motion.values[i],
                rotation=self.motion.rotation[i],
                translation=self.motion.translation[i],
                scale=self.motion.scale[i],
            )


def unspoken(motion: Motion, portrait: Portrait) -> Motion:
    """What is left of a motion in "arkit52" without speech: head, eyes and brows."""
    motion = convert(motion, "arkit52", portrait)
    values = motion.values * (_UPPER_FACE & (motion.values > LEAST_WEIGHT))
    return replace(motion, values=values)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A portrait, its motion and the square that the networks see."""

    portrait: Portrait  # with the crop of the networks
    landmarks: Tensor  # [T, 68, 2] float64, pixels of the crop
    motion: Motion
    pictures: Callable[[Tensor], Tensor]  # frames → [t, H, W, 3] uint8, holding the pose

    @classmethod
    def of(
        cls,
        portrait: Portrait,
        motion: Motion,
        size: int,
        *,
        crop_scale: float | None = None,
        crop_shift: float = 0.0,
        frames: Tensor | None = None,
    ) -> Scene:
        """The scene of a motion.

        Args:
            portrait: whose face it is.
            motion: in any space.
            size: side of the networks' pictures, pixels.
            crop_scale: of the square, in sizes of the face; the portrait's own crop without it.
            crop_shift: how much lower than usual that square lies, in sizes of the face.
            frames: `[T or more, H, W, 3]` uint8, pictures like the portrait's that hold the pose.

        Raises:
            PayloadError: frames of another size, or too few.
        """
        portrait = _cropped(portrait, size, crop_scale, crop_shift)
        pictures: Callable[[Tensor], Tensor]
        landmarks = square_landmarks(motion, portrait)
        if frames is None:
            pictures = PoseFrames(portrait, motion)
        else:
            _check_frames(frames, portrait, len(landmarks))
            pictures = frames.__getitem__
        return cls(portrait=portrait, landmarks=landmarks, motion=motion, pictures=pictures)

    @property
    def size(self) -> int:
        """Side of the networks' pictures, pixels."""
        return self.portrait.crop_size

    def squares(self, pictures: Tensor) -> Tensor:
        """What the networks see of pictures `[t, H, W, 3]`: `[t, 3, size, size]` in 0 … 1."""
        cuts = [extract_crop(picture, self.portrait.crop, self.size) for picture in pictures]
        return torch.stack(cuts).movedim(-1, 1)

    def masked_video(self, squares: Tensor, frames: Tensor) -> Tensor:
        """Squares without their lower half, `[3, t, size, size]` in −1 … 1."""
        return signed_video(without_lower_half(squares, self.landmarks[frames]))

    def reference_video(self, length: int) -> Tensor:
        """The portrait's own square `length` times, `[3, length, size, size]` in −1 … 1."""
        still = self.squares(self.portrait.image[None])
        return signed_video(still.expand(length, -1, -1, -1))

    def landmark_video(self, frames: Tensor) -> Tensor:
        """The drawn landmarks, `[3, t, size, size]` in −1 … 1."""
        return landmark_video(self.landmarks[frames], self.size)

    def marks(self, frames: Tensor) -> Tensor:
        """The drawn landmarks minus those without speech, `[1, t, size, size]`."""
        there, unspoken = (points[frames] for points in (self.landmarks, self.unspoken))
        return (landmark_video(there, self.size) - landmark_video(unspoken, self.size))[:1]

    def mouth(self, frames: Tensor) -> Tensor:
        """How much of each pixel lies between the lips, `[1, t, size, size]` in 0 … 1."""
        return mouth_video(self.landmarks[frames], self.size)

    def pose_video(self, frames: Tensor) -> Tensor:
        """The frames that hold the pose, `[3, t, size, size]` in −1 … 1."""
        return signed_video(self.squares(self.pictures(frames)))

    @cached_property
    def unspoken(self) -> Tensor:
        """Where the landmarks are without speech, `[T, 68, 2]` float64, pixels of the crop."""
        return square_landmarks(unspoken(self.motion, self.portrait), self.portrait)

    def lower_face(self, frames: Tensor) -> Tensor:
        """How much of each place is taken from the networks, `[t, 256, 256]` in 0 … 1, whatever
        their size: the face from the nose base down, its edge blurred, as the paper (page 5)
        describes and its program leaves out.
        """
        outline = _on_drawing(self.landmarks[frames][:, list(LOWER_FACE)], self.size)
        sigma = SOFTNESS * DRAWING
        inside = inside_outline(outline, DRAWING).float()
        return gaussian_blur(inside, 2 * int(3 * sigma) + 1, sigma)


def square_landmarks(motion: Motion, portrait: Portrait) -> Tensor:
    """Where a motion takes the landmarks, `[T, 68, 2]` float64, pixels of the portrait's crop."""
    flat = posed_landmarks(motion, portrait)[..., :2].double()
    return flat @ portrait.crop[:2, :2].T + portrait.crop[:2, 2]


def landmark_video(landmarks: Tensor, size: int) -> Tensor:
    """Landmarks `[t, 68, 2]`, pixels of a square, drawn as the networks take them:
    `[3, t, size, size]` in −1 … 1."""
    video = drawing_video(draw_landmarks(_on_drawing(landmarks, size)))
    if size == DRAWING:
        return video
    return F.interpolate(video.movedim(1, 0), (size, size), mode="area").movedim(0, 1)


def mouth_video(landmarks: Tensor, size: int) -> Tensor:
    """How much of each pixel of a square lies between the lips of landmarks `[t, 68, 2]`, its
    pixels: `[1, t, size, size]` in 0 … 1."""
    return filled(landmarks[:, INNER_LIPS].float(), size)[None]


def _on_drawing(points: Tensor, size: int) -> Tensor:
    """Pixels of the networks' square as pixels of a drawing."""
    return (points + 0.5) * (DRAWING / size) - 0.5


def inside_outline(outline: Tensor, size: int) -> Tensor:
    """Which pixels lie inside closed outlines `[t, K, 2]` (x, y): `[t, size, size]` bool."""
    centres = torch.arange(size, dtype=outline.dtype)
    x0, y0 = outline[:, :, None, None].unbind(-1)  # [t, K, 1, 1]
    x1, y1 = outline.roll(-1, dims=1)[:, :, None, None].unbind(-1)
    y, x = centres[:, None], centres[None]
    between = (y0 <= y) != (y1 <= y)
    slope = (x1 - x0) / torch.where(y1 == y0, torch.ones_like(y0), y1 - y0)
    crossed = between & (x < x0 + (y - y0) * slope)  # edges to the right of the pixel
    return crossed.sum(1) % 2 == 1


def _cropped(portrait: Portrait, size: int, scale: float | None, shift: float) -> Portrait:
    if scale is not None:
        crop = square_crop(portrait.landmarks, scale=scale, size=size)
        crop[1, 2] -= shift * size / scale
        return replace(portrait, crop=crop, crop_size=size)
    factor = size / portrait.crop_size
    shrink = torch.diag(portrait.crop.new_tensor([factor, factor, 1.0]))
    shrink[:2, 2] = (factor - 1) / 2
    return replace(portrait, crop=shrink @ portrait.crop, crop_size=size)


def _check_frames(frames: Tensor, portrait: Portrait, needed: int) -> None:
    wanted = (*portrait.size, 3)
    if frames.dtype != torch.uint8 or tuple(frames.shape[1:]) != wanted or len(frames) < needed:
        given = " × ".join(map(str, frames.shape))
        raise PayloadError(
            f"Pose frames must be at least {needed} pictures of {wanted[1]}×{wanted[0]} like the"
            f" portrait's, but {given} ({frames.dtype}) was given. Resize or trim the video."
        )


def signed_video(squares: Tensor) -> Tensor:
    """Squares `[t, 3, S, S]` in 0 … 1 as the networks take them: `[3, t, S, S]` in −1 … 1."""
    return (2 * squares - 1).movedim(0, 1)
