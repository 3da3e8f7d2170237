"""LivePortrait's 21 implicit keypoints: how head pose, expression, shift and scale place them.

`x = scale · (kp @ R + exp) + (tx, ty, 0)` (Guo et al. 2024, eq. 2) in coordinates where the square
crop spans −1 … 1, x right, y down, z away from the viewer: the axes of `payloads.py`. The published
motion extractor puts the lips (z ≈ −0.2) in front of the eyes (−0.14) and those in front of the rim
of the head (+0.2), so its pitch, yaw and roll have the same signs as ours, and no axis is flipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...payloads import Motion, PayloadError, Timeline
from ...portrait.geometry import euler_to_matrix, matrix_to_euler

NUM_KEYPOINTS = 21
LIP_KEYPOINTS = (6, 12, 14, 17, 19, 20)
EYE_KEYPOINTS = (11, 13, 15, 16, 18)
BIN_DEGREES, BIN_OFFSET = 3.0, 97.5  # 66 bins of 3° from −97.5°; the published weights need 97.5


@dataclass(frozen=True, kw_only=True, eq=False)
class LivePortraitSource:
    """What the motion extractor sees in the portrait: the state that motion is added to."""

    kp: Tensor  # [21, 3] canonical keypoints: identity without pose and expression
    exp: Tensor  # [21, 3] expression offsets
    pitch: float  # degrees
    yaw: float  # degrees
    roll: float  # degrees
    t: Tensor  # [3] shift in the crop, which spans −1 … 1; z is not used
    scale: float
    interocular: float = 1.0  # the portrait's inter-ocular distance in the crop's coordinates
    tilt: float = 0.0  # degrees by which the crop is turned against the picture, clockwise

    @classmethod
    def from_heads(
        cls,
        heads: Mapping[str, Tensor],
        interocular: float = 1.0,
        tilt: float = 0.0,
        index: int = 0,
    ) -> LivePortraitSource:
        """Image `index` of what the motion extractor returned for a batch."""
        heads = {name: head[index].detach().float().cpu() for name, head in heads.items()}
        pitch, yaw, roll = (float(bins_to_degrees(heads[a])) for a in ("pitch", "yaw", "roll"))
        return cls(
            kp=heads["kp"].reshape(NUM_KEYPOINTS, 3),
            exp=heads["exp"].reshape(NUM_KEYPOINTS, 3),
            pitch=pitch,
            yaw=yaw,
            roll=roll,
            t=heads["t"].reshape(3),
            scale=float(heads["scale"]),
            interocular=interocular,
            tilt=tilt,
        )

    @property
    def degrees(self) -> Tensor:
        """Pitch, yaw, roll, `[3]`."""
        return torch.tensor([self.pitch, self.yaw, self.roll])

    @property
    def keypoints(self) -> Tensor:
        """Where the keypoints are in the portrait, `[1, 21, 3]`."""
        rotation = rotation_matrix(self.degrees)[None]
        scale = torch.tensor([self.scale])
        return transform_keypoints(self.kp, self.exp[None], rotation, self.t[None], scale)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """Absolute state of the keypoints over time, as `transform_keypoints` wants it."""

    exp: Tensor  # [T, 21, 3]
    rotation: Tensor  # [T, 3, 3] for row vectors
    t: Tensor  # [T, 3]
    scale: Tensor  # [T]

    def keypoints(self, kp: Tensor) -> Tensor:
        """The canonical keypoints `[21, 3]` in these poses, `[T, 21, 3]`."""
        return transform_keypoints(kp, self.exp, self.rotation, self.t, self.scale)


def bins_to_degrees(logits: Tensor) -> Tensor:
    """The angle that 66 bins `[..., 66]` stand for: `Σ softmax · index · 3 − 97.5`, `[...]`."""
    share = logits.float().softmax(-1)
    index = torch.arange(logits.shape[-1], device=logits.device, dtype=share.dtype)
    return (share * index).sum(-1) * BIN_DEGREES - BIN_OFFSET


def rotation_matrix(degrees: Tensor) -> Tensor:
    """`(Rz · Ry · Rx)ᵀ` of `[..., 3]` pitch, yaw, roll, to be applied to row vectors: `kp @ R`."""
    return euler_to_matrix(degrees).mT


def transform_keypoints(
    kp: Tensor, exp: Tensor, rotation: Tensor, t: Tensor, scale: Tensor
) -> Tensor:
    """`scale · (kp @ R + exp) + (tx, ty, 0)`.

    Args:
        kp: `[21, 3]` or `[B, 21, 3]`.
        exp: `[B, 21, 3]`.
        rotation: `[B, 3, 3]` for row vectors.
        t: `[B, 3]`, of which z is ignored, as in training.
        scale: `[B]`.
    """
    shift = t * t.new_tensor([1.0, 1.0, 0.0])
    return scale[:, None, None] * (kp @ rotation + exp) + shift[:, None]


def motion_from_pose(source: LivePortraitSource, pose: Pose, timeline: Timeline) -> Motion:
    """Absolute LivePortrait motion as what is added to this portrait (`payloads.py`).

    Rotation becomes what turns the portrait's head, in the picture's axes, into the pose;
    translation is measured in inter-ocular distances.
    """
    turned = pose.rotation.mT @ rotation_matrix(source.degrees)  # column vectors: R_d · R_sᵀ
    upright = _crop_axes(source).mT
    shift = (pose.t - source.t) / source.interocular * pose.t.new_tensor([1.0, 1.0, 0.0])
    return Motion(
        space="liveportrait",
        values=pose.exp - source.exp,
        rotation=matrix_to_euler(upright @ turned @ upright.mT),
        translation=shift @ upright.mT,
        scale=pose.scale / source.scale,
        timeline=timeline,
    )


def pose_from_motion(source: LivePortraitSource, motion: Motion) -> Pose:
    """The absolute pose that `motion` gives this portrait; the inverse of `motion_from_pose`.

    Raises:
        PayloadError: the motion is of another space.
    """
    if motion.space != "liveportrait":
        raise PayloadError(
            f"LivePortrait needs motion of the space 'liveportrait', not '{motion.space}'."
            " Convert the motion first."
        )
    axes = _crop_axes(source)
    turned = axes @ euler_to_matrix(motion.rotation) @ axes.mT
    return Pose(
        exp=source.exp + motion.values,
        rotation=rotation_matrix(source.degrees) @ turned.mT,
        t=source.t + motion.translation @ axes.mT * source.interocular,
        scale=source.scale * motion.scale,
    )


def _crop_axes(source: LivePortraitSource) -> Tensor:
    """What turns the picture's axes into the crop's, for column vectors."""
    return euler_to_matrix(torch.tensor([0.0, 0.0, source.tilt]))


def relative_pose(source: LivePortraitSource, driving: Pose) -> Pose:
    """The source moved as the driving face moves away from its own first frame.

    `R = (R_i R_0ᵀ) R_s`, `δ = δ_s + δ_i − δ_0`, `s = s_s · s_i / s_0`, `t = t_s + t_i − t_0`.
    """
    return Pose(
        exp=source.exp + driving.exp - driving.exp[:1],
        rotation=driving.rotation @ driving.rotation[:1].mT @ rotation_matrix(source.degrees),
        t=source.t + driving.t - driving.t[:1],
        scale=source.scale * driving.scale / driving.scale[:1],
    )


def motion_multiplier(source: Tensor, driving: Tensor) -> float:
    """How much larger the source's face is, `[21, 3]` each: the root of the hulls' volume ratio.

    `x_d = (x_i − x_0) · multiplier + x_s` keeps a driving face's expression in proportion.
    """
    from scipy.spatial import ConvexHull

    volumes = [
        ConvexHull(x.reshape(-1, 3).double().cpu().numpy()).volume for x in (source, driving)
    ]
    return float((volumes[0] / volumes[1]) ** 0.5)
