"""One detected face: its landmarks in pixels, and whether they can be those of a face at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..payloads import PayloadError
from .geometry import apply_similarity, lift_landmarks, procrustes
from .mapping import mean_landmarks, to_68

MIN_INTEROCULAR = 6.0  # pixels; below, a face has hardly more pixels than landmarks
MAX_MISFIT = 0.20  # root mean square distance to the posed mean face, inter-ocular distances
MAX_COORDINATE = 1e6  # pixels
MIN_INSIDE = 0.5  # share of the landmarks that lie in the picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Face:
    """The landmarks of one face, in pixels of its picture, z scaled like x."""

    landmarks: Tensor  # [68, 3] float32, iBUG order
    dense: Tensor | None = None  # [478, 3] float32, MediaPipe's mesh

    @classmethod
    def from_points(cls, points: Tensor) -> Face:
        """A face from 68, 468 or 478 points with or without z; what is missing is completed.

        Raises:
            PayloadError: another number of points, or values that are not finite.
        """
        shape = " × ".join(map(str, points.shape))
        if (
            points.ndim != 2
            or points.shape[0] not in (68, 468, 478)
            or points.shape[1] not in (2, 3)
        ):
            raise PayloadError(
                f"A face needs 68 or 478 landmarks of two or three numbers, but {shape} were given."
            )
        if not (points.abs() < MAX_COORDINATE).all():
            raise PayloadError(
                "The landmarks contain NaN, infinite values or numbers too large to be pixels."
                " Check where they come from."
            )
        points = points.float()
        sparse = points if len(points) == 68 else to_68(points)
        complete = len(points) == 478 and points.shape[1] == 3
        if sparse.shape[1] == 2:
            sparse = lift_landmarks(sparse)
        return cls(landmarks=sparse, dense=points if complete else None)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 around the landmarks."""
        points = self.landmarks if self.dense is None else self.dense
        (x0, y0), (x1, y1) = points[:, :2].amin(0).tolist(), points[:, :2].amax(0).tolist()
        return x0, y0, x1, y1

    @property
    def area(self) -> float:
        """Area of the box, square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


def implausible(face: Face, size: tuple[int, int]) -> str | None:
    """What speaks against these landmarks in a picture of `size` (height, width), or None.

    The answer continues a sentence that begins with the face.
    """
    points, mean = face.landmarks, mean_landmarks()
    rotation, scale, shift = procrustes(mean, points)
    if float(scale) < MIN_INTEROCULAR:
        return (
            f"is only {float(scale):.1f} pixels wide from eye to eye;"
            f" {MIN_INTEROCULAR:g} are needed"
        )
    offset = points - apply_similarity(mean, rotation, scale, shift)
    misfit = float(offset.square().sum(-1).mean().sqrt() / scale)
    if misfit > MAX_MISFIT:
        return (
            f"is not shaped like a face: its points lie {misfit:.2f} inter-ocular distances off"
            f" a mean face, {MAX_MISFIT:g} are allowed"
        )
    if float(rotation[2, 2]) <= 0:
        return "is seen from behind: its left and right seem to be swapped"
    height, width = size
    x, y = points[:, 0], points[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    if float(inside.float().mean()) < MIN_INSIDE:
        return f"lies outside the picture of {width}×{height} pixels"
    return None
