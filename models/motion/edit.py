"""What an artist changes about a motion: more of this, less of that, calmer, further left.

Order: time, strength, smoothing, limits, offsets. Everything is given in seconds, degrees and
inter-ocular distances, so that the same settings look the same at every frame rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import isfinite

import torch
from torch import Tensor
from torch.nn import functional as F

from ..payloads import Motion, PayloadError
from .arkit import ARKIT52, INDEX
from .drift import smooth_step

NO_LIMIT = 90.0  # degrees
SOFT = 0.6  # of a limit: up to here angles are left alone, from here on they are bent

_EYES = ("eyeBlink", "eyeLook")
_FACE = ("brow", "cheekSquint", "eyeSquint", "eyeWide", "noseSneer")


def _named(*prefixes: str) -> tuple[int, ...]:
    return tuple(index for name, index in INDEX.items() if name.startswith(prefixes))


# Which values of a space belong to which part of the face.
PARTS: dict[str, dict[str, tuple[int, ...]]] = {
    "arkit52": {
        "mouth": tuple(i for n, i in INDEX.items() if not n.startswith(_EYES + _FACE)),
        "expression": _named(*_FACE),
        "blink": _named("eyeBlink"),
        "gaze": _named("eyeLook"),
    },
    "landmarks68": {
        "mouth": (*range(17), *range(31, 36), *range(48, 68)),
        "expression": tuple(range(17, 31)),
        "blink": tuple(range(36, 48)),
        "gaze": (),
    },
    # Which of the 21 implicit keypoints sit on lips and lids: LivePortrait, retargeting of lips and
    # eyes (src/live_portrait_pipeline.py).
    "liveportrait": {
        "mouth": (6, 12, 14, 17, 19, 20),
        "expression": (0, 1, 2, 3, 4, 5, 7, 8, 9, 10),
        "blink": (11, 13, 15, 16, 18),
        "gaze": (),
    },
}


@dataclass(frozen=True, kw_only=True)
class Edit:
    """Settings of an edit; the defaults change nothing."""

    mouth: float = 1.0  # strength of lips, jaw, tongue and cheeks; 0 closes the mouth for good
    expression: float = 1.0  # strength of brows, squinting and nose
    blink: float = 1.0  # strength of blinks; 0 keeps the eyes open
    gaze: float = 1.0  # strength of eye movement
    head: float = 1.0  # strength of head rotation, translation and scale
    smoothing_seconds: float = 0.0  # of mouth, expression and gaze: shorter movements fade away
    head_smoothing_seconds: float = 0.0
    delay_seconds: float = 0.0  # positive: the face moves later than the sound
    loop_seconds: float = 0.0  # over this long the end returns to how it began
    pitch_limit: float = NO_LIMIT  # degrees to either side, approached softly
    yaw_limit: float = NO_LIMIT
    roll_limit: float = NO_LIMIT
    pitch_offset: float = 0.0  # degrees, positive looks down
    yaw_offset: float = 0.0  # degrees, positive turns the nose to the left of the picture
    roll_offset: float = 0.0  # degrees, positive tilts clockwise
    x_offset: float = 0.0  # inter-ocular distances, positive to the right of the picture
    y_offset: float = 0.0  # inter-ocular distances, positive down
    zoom: float = 1.0  # factor on the size of the head
    weights: Mapping[str, float] = field(
        default_factory=dict
    )  # added: {"mouthSmile": 0.2}, any side

    def __post_init__(self) -> None:
        for setting in fields(self):
            if setting.name == "weights":
                continue
            value = getattr(self, setting.name)
            free = setting.name.endswith("_offset") or setting.name == "delay_seconds"
            if not isfinite(value) or (value < 0 and not free):
                raise PayloadError(
                    f"'{setting.name}' is {value}. Give a finite number"
                    f"{'' if free else ' of at least 0'}."
                )


def edit_motion(motion: Motion, **settings: float | Mapping[str, float]) -> Motion:
    """A changed copy of `motion`.

    Args:
        motion: in any space; `weights` needs "arkit52".
        **settings: the fields of `Edit`.

    Raises:
        PayloadError: a setting is out of range, or a weight has no such name.
    """
    edit = Edit(**settings)  # type: ignore[arg-type]
    fps = float(motion.timeline.fps)
    values, pose = motion.values.flatten(1), _pose_of(motion)
    values, pose = (_delay(curve, edit.delay_seconds * fps) for curve in (values, pose))
    values = _face(values.reshape(motion.values.shape), motion.space, edit, fps)
    pose = _smooth(pose * edit.head, edit.head_smoothing_seconds * fps)
    pose = _limit(pose, edit)
    values = _with_weights(values, motion.space, edit.weights)
    values, pose = (_loop(curve, edit.loop_seconds * fps) for curve in (values, pose))
    if motion.space == "arkit52" and edit != Edit():
        values = values.clamp(0, 1)
    return replace(
        motion,
        values=values,
        rotation=pose[:, :3].contiguous(),
        translation=pose[:, 3:6].contiguous(),
        scale=(1 + pose[:, 6]) * edit.zoom,
    )


def _pose_of(motion: Motion) -> Tensor:
    """Everything about the head that is 0 at rest: `[T, 7]`."""
    return torch.cat([motion.rotation, motion.translation, motion.scale[:, None] - 1], 1)


def _face(values: Tensor, space: str, edit: Edit, fps: float) -> Tensor:
    """Strength per part, and smoothing of all but the blinks, which it would leave half open."""
    parts = PARTS[space]
    strength = torch.ones(values.shape[1])
    for part, indices in parts.items():
        strength[list(indices)] = getattr(edit, part)
    strong = values * strength.reshape(-1, *[1] * (values.ndim - 2))
    smooth = _smooth(strong.flatten(1), edit.smoothing_seconds * fps).reshape(values.shape)
    smooth[:, list(parts["blink"])] = strong[:, list(parts["blink"])]
    return smooth


def _with_weights(values: Tensor, space: str, added: Mapping[str, float]) -> Tensor:
    """`values` with something added to single weights; names without a side mean both."""
    if added and space != "arkit52":
        raise PayloadError(
            f"Single weights can be changed in arkit52 motion only, and this is {space}."
            " Edit it before it is converted."
        )
    values = values.clone()
    for name, amount in added.items():
        sides = [side for side in (name, f"{name}Left", f"{name}Right") if side in INDEX]
        if not sides or not isfinite(amount):
            raise PayloadError(
                f"'{name}': {amount} is not a weight to add. Names are {', '.join(ARKIT52[:3])}, …"
                " (ARKit, a name without Left or Right means both) and amounts are finite."
            )
        values[:, [INDEX[side] for side in sides]] += amount
    return values


def _limit(pose: Tensor, edit: Edit) -> Tensor:
    """Rotation bent softly into its limits, then moved by the offsets."""
    pose = pose.clone()
    limits = (edit.pitch_limit, edit.yaw_limit, edit.roll_limit)
    for axis, limit in enumerate(limits):
        if limit < NO_LIMIT:
            pose[:, axis] = soft_limit(pose[:, axis], limit)
    offsets = (edit.pitch_offset, edit.yaw_offset, edit.roll_offset, edit.x_offset, edit.y_offset)
    pose[:, :5] += torch.tensor(offsets)
    return pose


def soft_limit(values: Tensor, limit: float) -> Tensor:
    """Values within ±`limit`: untouched up to `SOFT` of it, then bent without a corner."""
    knee, room = SOFT * limit, max((1 - SOFT) * limit, 1e-6)
    beyond = (values.abs() - knee).clamp(min=0)
    return values.clamp(-knee, knee) + values.sign() * room * torch.tanh(beyond / room)


def _smooth(curves: Tensor, frames: float) -> Tensor:
    """Gaussian smoothing of `[T, C]` without delay; `frames` is its full width at half maximum."""
    deviation = frames / 2.355
    reach = min(int(3 * deviation + 0.5), 10 * len(curves))
    if reach < 1:
        return curves.clone()
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2)
    padded = F.pad(curves.T[:, None], (reach, reach), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum())[None, None])[:, 0].T


def _delay(curves: Tensor, frames: float) -> Tensor:
    """`[T, C]` shifted in time, by parts of frames too; the first or last frame is held."""
    if frames == 0:
        return curves
    position = (torch.arange(len(curves), dtype=torch.float64) - frames).clamp(0, len(curves) - 1)
    before = position.long()
    share = (position - before).float()[:, None]
    return torch.lerp(curves[before], curves[(before + 1).clamp(max=len(curves) - 1)], share)


def _loop(curves: Tensor, frames: float) -> Tensor:
    """`[T, …]` whose last `frames` return to the first one."""
    if frames <= 0:
        return curves
    steps = torch.arange(1 - len(curves), 1) / min(frames, len(curves)) + 1
    share = smooth_step(steps).reshape(-1, *[1] * (curves.ndim - 1))
    return torch.lerp(curves, curves[:1].expand_as(curves), share)
