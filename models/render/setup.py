"""What all frames of a warped portrait share, measured and painted once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..motion.rig import Rig
from ..payloads import Portrait
from ..portrait.geometry import euler_to_matrix
from .eyes import Eye
from .field import Lattice
from .head import Head, HeadMotion
from .interior import Interior
from .mouth import EYES, LipControl, LipFields, Mouth
from .palette import Palette
from .texture import Texture

LOWER_FACE = (*range(17), *range(48, 68))  # jaw and lips
CELL = 0.045  # inter-ocular distances between two nodes of the lattice
MARGIN = 0.7  # inter-ocular distances beyond the picture's border from which pixels may come in
TEETH_BEHIND_LIPS = 0.08  # inter-ocular distances


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that depends on the portrait alone.

    Its texture is repainted by every frame (`warp.paint_eyes`), so one setup serves one thread.
    """

    portrait: Portrait
    rig: Rig
    head: Head
    mouth: Mouth
    lips: LipFields
    eyes: tuple[Eye, Eye]
    interior: Interior
    texture: Texture
    lattice: Lattice
    visible: Lattice  # the part of the lattice inside the picture
    nodes: Tensor  # [2, rows, columns]
    depth: Tensor  # [rows, columns], pixels
    attachment: Tensor  # [rows, columns], 1 where the picture follows the skull
    neutral: Tensor  # [68, 3], the face at rest in the rig's frame
    lower_face: float  # size of the lower face relative to the rig's
    to_picture: Tensor  # [3, 3], from the rig's frame and unit to pixels
    mouth_depth: float  # z of the teeth, pixels
    mask: Tensor | None  # [1, H, W], where the picture may change

    @classmethod
    def of(cls, portrait: Portrait, rig: Rig, device: torch.device) -> Setup:
        """Measure a portrait; takes about a second."""
        head = Head.of(portrait, device)
        mouth = Mouth.of(portrait, device)
        lattice = _lattice(head, portrait.size)
        height, width = portrait.size
        nodes = lattice.nodes(device)
        landmarks = portrait.landmarks.to(device)
        texture = _texture(portrait, lattice, device)
        pose = euler_to_matrix(torch.tensor(portrait.rotation))
        neutral = rig.neutral_of(portrait)
        lips_at = float(landmarks[[61, 62, 63], 2].mean())
        return cls(
            portrait=portrait,
            rig=rig,
            head=head,
            mouth=mouth,
            lips=LipFields.over(mouth, nodes.flatten(1), landmarks[:, :2]),
            eyes=(Eye.of(portrait, texture, 0), Eye.of(portrait, texture, 1)),
            interior=Interior.paint(Palette.of(portrait), mouth, device),
            texture=texture,
            lattice=lattice,
            visible=lattice.window((0, 0, width - 1, height - 1)),
            nodes=nodes,
            depth=head.depth(nodes, landmarks),
            attachment=head.attachment(nodes),
            neutral=neutral,
            lower_face=_lower_face(rig, neutral),
            to_picture=(pose.T * portrait.interocular).to(device),
            mouth_depth=lips_at + TEETH_BEHIND_LIPS * head.interocular,
            mask=None if portrait.mask is None else portrait.mask[None],
        )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The part of the picture that can change: x0, y0, x1, y1 in pixels, ends excluded."""
        height, width = self.portrait.size
        x0, y0 = max(self.visible.x0, 0), max(self.visible.y0, 0)
        x1 = min(self.visible.x0 + self.visible.pixels[1], width)
        y1 = min(self.visible.y0 + self.visible.pixels[0], height)
        return x0, y0, x1, y1

    def landmark_offsets(self, weights: Tensor) -> Tensor:
        """How far the landmarks move in the picture under ARKit `weights [52]`, lids excluded.

        Returns:
            `[68, 3]` pixels, without the head's motion. Jaws travel in proportion to the lower
            face.
        """
        offsets = self.rig.offsets(weights[None].float().cpu(), self.neutral)[0]
        offsets[list(EYES)] = 0
        offsets[list(LOWER_FACE)] *= self.lower_face
        return offsets.to(self.to_picture.device) @ self.to_picture


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """How one frame moves."""

    offsets: Tensor  # [68, 3] pixels, of the landmarks
    lips: LipControl
    tongue_out: float  # 0 … 1
    head: HeadMotion


def _lower_face(rig: Rig, neutral: Tensor) -> float:
    """The way from the nose to the chin, compared with that of the face the rig was made from."""
    own, average = ((face[8] - face[33]).norm() for face in (neutral, rig.mean_face))
    return float((own / average).clamp(0.5, 1.2))


def _lattice(head: Head, size: tuple[int, int]) -> Lattice:
    """Over what can move and is not too far outside the picture."""
    margin = MARGIN * head.interocular
    x0, y0, x1, y1 = head.box()
    box = (max(x0, -margin), max(y0, -margin), min(x1, size[1] + margin), min(y1, size[0] + margin))
    return Lattice.around(box, max(1, round(CELL * head.interocular)))


def _texture(portrait: Portrait, lattice: Lattice, device: torch.device) -> Texture:
    height, width = portrait.size
    across, down = lattice.pixels[1] - 1, lattice.pixels[0] - 1
    box = (
        max(lattice.x0, 0),
        max(lattice.y0, 0),
        min(lattice.x0 + across, width - 1),
        min(lattice.y0 + down, height - 1),
    )
    return Texture.cut(portrait.image, box, device)
