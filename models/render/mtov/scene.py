"""What MToV is shown of a portrait and its motion: drawn landmarks and frames that hold the pose.

Stage 5. The published program takes the pose, the background and the upper half of the face from a
driving video. Here the warp renderer makes them from the portrait alone: the head turns, the eyes
blink, the mouth stays as it is in the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
from ..setup import Setup
from ..warp import WarpRenderer, few_threads
from .landmark_drawing import DRAWING, draw_landmarks, drawing_video, without_lower_half

LOWER_FACE = (*JAW[2:15], *reversed(NOSE_BASE))  # its outline
SOFTNESS = 0.02  # of its edge, standard deviation in sides of the square
LEAST_WEIGHT = 0.02  # what a speaking mouth adds to other weights when they are fitted
_UPPER_FACE = torch.tensor([name.startswith(("brow", "eye")) for name in ARKIT52])


class PoseFrames:
    """Pictures of the portrait in the pose of a motion, mouth and jaw as they are in the portrait.

    Args:
        portrait: whose face it is.
        motion: in any space; of its expression only eyes and brows are shown.
    """

    def __init__(self, portrait: Portrait, motion: Motion) -> None:
        self.portrait, self.motion = portrait, motion
        weights = convert(motion, "arkit52", portrait).values
        self.weights = weights * (_UPPER_FACE & (weights > LEAST_WEIGHT))
        self._warp = WarpRenderer()
        self._setup: Setup | None = None  # made when first needed
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
                self.weights[i],
                rotation=self.motion.rotation[i],
                translation=self.motion.translation[i],
                scale=self.motion.scale[i],
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A portrait, its motion and the square that the networks see."""

    portrait: Portrait  # with the crop of the networks
    landmarks: Tensor  # [T, 68, 2] float64, pixels of the crop
    pictures: Callable[[Tensor], Tensor]  # frames → [t, H, W, 3] uint8, holding the pose

    @classmethod
    def of(
        cls,
        portrait: Portrait,
        motion: Motion,
        size: int,
        *,
        crop_scale: float | None = None,
        frames: Tensor | None = None,
    ) -> Scene:
        """The scene of a motion.

        Args:
            portrait: whose face it is.
            motion: in any space.
            size: side of the networks' pictures, pixels.
            crop_scale: of the square, in sizes of the face; the portrait's own crop without it.
            frames: `[T or more, H, W, 3]` uint8, pictures like the portrait's that hold the pose.

        Raises:
            PayloadError: frames of another size, or too few.
        """
        portrait = _cropped(portrait, size, crop_scale)
        flat = posed_landmarks(motion, portrait)[..., :2].double()
        landmarks = flat @ portrait.crop[:2, :2].T + portrait.crop[:2, 2]
        if frames is None:
            return cls(
                portrait=portrait, landmarks=landmarks, pictures=PoseFrames(portrait, motion)
            )
        _check_frames(frames, portrait, len(landmarks))
        return cls(portrait=portrait, landmarks=landmarks, pictures=frames.__getitem__)

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
        return _video(without_lower_half(squares, self.landmarks[frames]))

    def reference_video(self, length: int) -> Tensor:
        """The portrait's own square `length` times, `[3, length, size, size]` in −1 … 1."""
        still = self.squares(self.portrait.image[None])
        return _video(still.expand(length, -1, -1, -1))

    def landmark_video(self, frames: Tensor) -> Tensor:
        """The drawn landmarks, `[3, t, size, size]` in −1 … 1."""
        video = drawing_video(draw_landmarks(self._drawn(self.landmarks[frames])))
        if self.size == DRAWING:
            return video
        small = F.interpolate(video.movedim(1, 0), (self.size,) * 2, mode="area")
        return small.movedim(0, 1)

    def lower_face(self, frames: Tensor) -> Tensor:
        """How much of each place is taken from the networks, `[t, 256, 256]` in 0 … 1, whatever
        their size: the face from the nose base down, its edge blurred, as the paper (page 5)
        describes and its program leaves out.
        """
        outline = self._drawn(self.landmarks[frames][:, list(LOWER_FACE)])
        sigma = SOFTNESS * DRAWING
        inside = inside_outline(outline, DRAWING).float()
        return gaussian_blur(inside, 2 * int(3 * sigma) + 1, sigma)

    def _drawn(self, points: Tensor) -> Tensor:
        """Pixels of the networks' square as pixels of a drawing."""
        return (points + 0.5) * (DRAWING / self.size) - 0.5


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


def _cropped(portrait: Portrait, size: int, scale: float | None) -> Portrait:
    if scale is not None:
        crop = square_crop(portrait.landmarks, scale=scale, size=size)
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


def _video(squares: Tensor) -> Tensor:
    return (2 * squares - 1).movedim(0, 1)
