"""From 68 landmarks to a whole mesh, where no detector gave one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .geometry import procrustes
from .mapping import mean_face, open_face, to_68


def dense_from_68(landmarks: Tensor) -> Tensor:
    """MediaPipe's mesh `[..., 478, 3]` that passes through landmarks `[..., 68, 3]`.

    The mean face is posed to fit and bent to meet the 68 points, smoothly in between (biharmonic
    splines in three dimensions). Against real meshes the points in between are off by 0.007
    inter-ocular distances in the mean, 0.010 on lips and lids. The irises are a guess: 68 points do
    not know where somebody looks.
    """
    mean = mean_face().to(landmarks)
    rotation, scale, translation = procrustes(to_68(mean), landmarks)
    frontal = (landmarks - translation[..., None, :]) / scale[..., None, None] @ rotation
    bent = mean + _spline().to(landmarks) @ (frontal - to_68(mean))
    return scale[..., None, None] * bent @ rotation.mT + translation[..., None, :]


@cache
def _spline() -> Tensor:
    """The operator `[478, 68]` that spreads displacements of the 68 points over the mesh.

    Distances are measured on an open face, since points of the upper and the lower lip are
    neighbours on a closed one but must not drag each other along.
    """
    points = open_face().double()
    knots = to_68(points)
    affine = torch.cat([points.new_ones(478, 1), points], 1)
    knot_affine = to_68(affine)
    system = torch.zeros(72, 72, dtype=torch.float64)
    system[:68, :68] = torch.cdist(knots, knots)
    system[:68, 68:], system[68:, :68] = knot_affine, knot_affine.T
    basis = torch.cat([torch.cdist(points, knots), affine], 1)
    return (basis @ torch.linalg.inv(system))[:, :68].float()
