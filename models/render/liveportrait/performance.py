"""How motion is performed: relative or absolute, how strongly, which parts of the face, with lips
and eyes opened as asked.

Source: Guo et al. 2024, sections 3.3 and 4; the choices of the published program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...payloads import Motion, PayloadError, Portrait
from .keypoints import (
    EYE_KEYPOINTS,
    LIP_KEYPOINTS,
    NUM_KEYPOINTS,
    LivePortraitSource,
    Pose,
    motion_multiplier,
    pose_from_motion,
    relative_pose,
    rotation_matrix,
)
from .retargeting import eye_ratios, lip_ratio, retarget, stitch

MODES = ("absolute", "relative", "expression")
REGIONS = ("all", "expression", "pose", "lips", "eyes")
OPEN_LIPS = 0.03  # lips that are further open than this are closed by `close_lips`


@dataclass(frozen=True, kw_only=True, eq=False)
class Performance:
    """Choices of a rendering.

    Raises:
        PayloadError: an unknown mode or region, or offsets of another shape.
    """

    mode: str = "absolute"  # the motion as it is; "relative": its way from its own first frame;
    # "expression": the same, in proportion to the size of the driving face
    region: str = "all"  # what of the motion is used
    strength: float = 1.0  # multiplies the way of every keypoint from the portrait
    stitching: bool = True  # keep shoulders and hair where the picture has them
    close_lips: bool = False  # start from closed lips where the portrait's are open
    eye_opening: float | None = None  # height over width that the eyes shall have, 0 … 0.8
    lip_opening: float | None = None  # height over width that the lips shall have, 0 … 0.8
    expression_offset: Tensor | None = None  # [21, 3] added to every frame's expression
    crop: str = "face"  # a key of `source.CROPS`
    paste_back: bool = True  # into the full picture; otherwise the crop alone

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.region not in REGIONS:
            raise PayloadError(
                f"LivePortrait performs the modes {', '.join(MODES)} and the regions"
                f" {', '.join(REGIONS)}, not '{self.mode}' and '{self.region}'."
            )
        offset = self.expression_offset
        if offset is not None and offset.shape != (NUM_KEYPOINTS, 3):
            raise PayloadError(
                f"An expression offset must be 21 × 3, but {tuple(offset.shape)} was given."
            )


DEFAULTS = Performance()


def driving_keypoints(
    source: LivePortraitSource, motion: Motion, performance: Performance
) -> Tensor:
    """Where the motion puts the keypoints, before retargeting and stitching, `[T, 21, 3]`."""
    pose = _in_region(source, pose_from_motion(source, motion), performance.region)
    if performance.mode == "relative":
        pose = relative_pose(source, pose)
    if performance.expression_offset is not None:
        pose = replace(pose, exp=pose.exp + performance.expression_offset)
    still, driving = source.keypoints, pose.keypoints(source.kp)
    if performance.mode == "expression":
        driving = still + (driving - driving[:1]) * motion_multiplier(still, driving[:1])
    return still + (driving - still) * performance.strength


def corrected_keypoints(
    driving: Tensor,
    source: Tensor,
    portrait: Portrait,
    networks: Mapping[str, nn.Module],
    performance: Performance,
) -> Tensor:
    """Keypoints after retargeting of eyes and lips and after stitching.

    Args:
        driving: `[b, 21, 3]` from `driving_keypoints`.
        source: `[1, 21, 3]` of the portrait.
        portrait: whose landmarks tell how far its eyes and lips are open.
        networks: `stitching`, `retarget_lip` and `retarget_eye`.
        performance: what is wanted.
    """
    landmarks = portrait.landmarks[None].to(driving.device)
    eyes, lips = eye_ratios(landmarks), lip_ratio(landmarks)
    change = torch.zeros_like(source)
    if performance.eye_opening is not None:
        ratios = torch.cat([eyes, torch.full_like(lips, performance.eye_opening)], 1)
        change = change + retarget(networks["retarget_eye"], source, ratios)
    openings = [0.0] if performance.close_lips and float(lips) >= OPEN_LIPS else []
    openings += [] if performance.lip_opening is None else [performance.lip_opening]
    for opening in openings:
        ratios = torch.cat([lips, torch.full_like(lips, opening)], 1)
        change = change + retarget(networks["retarget_lip"], source, ratios)
    driving = driving + change
    return stitch(networks["stitching"], source, driving) if performance.stitching else driving


def _in_region(source: LivePortraitSource, pose: Pose, region: str) -> Pose:
    """The pose with everything outside the region as the portrait has it."""
    frames = len(pose.exp)
    if region in ("pose", "lips", "eyes"):
        keypoints = {"pose": (), "lips": LIP_KEYPOINTS, "eyes": EYE_KEYPOINTS}[region]
        exp = source.exp.repeat(frames, 1, 1)
        exp[:, list(keypoints)] = pose.exp[:, list(keypoints)]
        pose = replace(pose, exp=exp)
    if region in ("expression", "lips", "eyes"):
        pose = replace(
            pose,
            rotation=rotation_matrix(source.degrees).expand(frames, 3, 3),
            t=source.t.expand(frames, 3),
            scale=torch.full((frames,), source.scale),
        )
    return pose
