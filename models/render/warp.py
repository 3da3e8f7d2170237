"""The warp renderer: a portrait speaks by bending its own picture. Needs no weights.

Per frame: the rig moves the 68 landmarks, two smooth fields carry the upper and the lower face
(`mouth.py`), the solid head turns them in depth (`head.py`), the map is inverted on a lattice
(`field.py`), and the picture, its eyes repainted (`eyes.py`), is sampled through it. Where neither
lip reaches, the inside of the mouth shows (`interior.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion.arkit import INDEX
from ..motion.rig import Rig, load_rig
from ..payloads import Motion, PayloadError, Portrait
from .field import enlarge, invert
from .head import HeadMotion
from .lips import paint_mouth
from .mouth import LipControl
from .setup import FrameMotion, Setup

# A frame is many small steps. Below this size a second thread saves a tenth of the time on an idle
# computer, and costs ten times as much on a busy one, where each step waits for both.
PIXELS_PER_THREAD = 1_500_000  # of the part of the picture that moves


class WarpRenderer:
    """Renders ARKit-52 motion by warping the portrait."""

    space = "arkit52"

    def __init__(self, device: torch.device | str = "cpu", rig: Rig | None = None) -> None:
        self.device = torch.device(device)
        self.rig = rig or load_rig()

    def render(
        self,
        portrait: Portrait,
        motion: Motion,
        *,
        batch: int = 8,
        on_frame: Callable[[int, int], None] | None = None,
    ) -> Iterator[Tensor]:
        """The frames of a motion, `batch` at a time.

        Args:
            portrait: whose face it is.
            motion: in the space `arkit52`.
            batch: frames per tensor; changes nothing else.
            on_frame: called with (frames done, frames in all) after each frame.

        Yields:
            `[b, H, W, 3]` uint8 on the CPU, the portrait's full picture.

        Raises:
            PayloadError: motion in another space, or a batch below 1.
        """
        if motion.space != self.space:
            raise PayloadError(
                f"The warp renderer moves by {self.space}, but {motion.space} motion was given."
                " Convert it first."
            )
        if batch < 1:
            raise PayloadError(f"A batch of {batch} frames was asked for; at least 1 is needed.")
        setup = self.prepare(portrait)
        total = motion.timeline.num_frames
        for start in range(0, total, batch):
            frames = []
            for index in range(start, min(start + batch, total)):
                with few_threads(setup.box):
                    frame = self.frame(
                        setup,
                        motion.values[index],
                        rotation=motion.rotation[index],
                        translation=motion.translation[index],
                        scale=motion.scale[index],
                    )
                frames.append(frame)
                if on_frame:
                    on_frame(index + 1, total)
            yield torch.stack(frames)

    @torch.inference_mode()
    def prepare(self, portrait: Portrait) -> Setup:
        """What all frames of a portrait share; takes about a second and may be kept."""
        return Setup.of(portrait, self.rig, self.device)

    @torch.inference_mode()
    def frame(
        self,
        setup: Setup,
        weights: Tensor,
        *,
        rotation: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
        translation: Tensor | tuple[float, float, float] = (0.0, 0.0, 0.0),
        scale: Tensor | float = 1.0,
    ) -> Tensor:
        """One frame `[H, W, 3]` uint8 on the CPU.

        Args:
            setup: what `prepare` made of the portrait.
            weights: `[52]`, ARKit.
            rotation: pitch, yaw, roll in degrees, on top of the portrait's own.
            translation: inter-ocular distances.
            scale: factor.
        """
        rotation, translation, scale = map(torch.as_tensor, (rotation, translation, scale))
        image = setup.portrait.image
        if not (weights.any() or rotation.any() or translation.any() or float(scale) != 1.0):
            return image.clone()
        motion = FrameMotion(
            offsets=setup.landmark_offsets(weights),
            lips=LipControl.of(weights),
            tongue_out=float(weights[INDEX["tongueOut"]]),
            head=HeadMotion.of(setup.head, rotation.float(), translation.float(), scale),
        )
        moved = move(setup, motion)
        sources = invert(setup.lattice, setup.nodes, moved, setup.visible)
        sources = stay_inside(sources, setup.visible.nodes(self.device), setup.portrait.size)
        paint_eyes(setup, weights)
        picture = sample(setup, sources)
        paint_mouth(setup, picture, moved, sources, motion)
        return _compose(setup, picture)


def load(device: torch.device | str = "cpu") -> WarpRenderer:
    """The ready renderer."""
    return WarpRenderer(device)


@contextmanager
def few_threads(box: tuple[int, int, int, int]) -> Iterator[None]:
    """As many of torch's threads as a box x0, y0, x1, y1 of pixels is worth, then as many again."""
    x0, y0, x1, y1 = box
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 1 + (x1 - x0) * (y1 - y0) // PIXELS_PER_THREAD))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def move(setup: Setup, frame: FrameMotion) -> Tensor:
    """Where the lattice's nodes go in a frame, by the upper and by the lower field.

    Returns:
        `[2, 2, rows, columns]` source pixels.
    """
    both = []
    for side in setup.lips.displacements(frame.offsets, setup.mouth, frame.lips):
        shift = side.view(3, *setup.depth.shape)
        points = setup.nodes + shift[:2]
        turned = frame.head.offsets(points, setup.depth + shift[2])
        both.append(points + setup.attachment * turned)
    return torch.stack(both)


def stay_inside(sources: Tensor, nodes: Tensor, size: tuple[int, int]) -> Tensor:
    """Sources `[B, 2, rows, columns]` that would lie beyond the picture's border, brought back by
    stretching its rim.

    Where a pixel's content comes from a distance e further out, what lies within a few e of the
    border is drawn out to fill the gap. Without motion nothing changes.
    """
    inside = []
    for axis, length in ((0, size[1]), (1, size[0])):
        source, here = sources[:, axis], nodes[axis]
        for origin, sign in ((0.0, 1.0), (float(length - 1), -1.0)):
            depth = sign * (source - origin)
            out = (sign * (here - source)).clamp(min=1e-4)
            depth = torch.where(depth < 8 * out, out * F.softplus(depth / out), depth)
            source = origin + sign * depth
        inside.append(source)
    return torch.stack(inside, 1)


def paint_eyes(setup: Setup, weights: Tensor) -> None:
    """Bring the eyes of the texture up to date, in place: every frame paints both, so none sees
    another's.
    """
    for eye in setup.eyes:
        painted = eye.paint(weights)
        setup.texture.paste(
            eye.rows, eye.columns, eye.patch.source[0] if painted is None else painted
        )


def sample(setup: Setup, sources: Tensor) -> Tensor:
    """The pixels of `setup.box` through the warp, `[3, h, w]`, 0 … 255.

    Which of the two fields holds is decided node by node; between the lips, where that is too
    coarse, `paint_mouth` draws over it.
    """
    visible = setup.visible
    upper, lower = sources
    on_upper_side = setup.mouth.beyond_edges(upper)[0] < 0
    chosen = torch.where(on_upper_side, upper, lower)
    grid = enlarge(setup.texture.normalise(chosen), visible)[0]
    x0, y0, x1, y1 = setup.box
    grid = grid[:, y0 - visible.y0 : y1 - visible.y0, x0 - visible.x0 : x1 - visible.x0]
    return setup.texture.sample(grid)


def _compose(setup: Setup, picture: Tensor) -> Tensor:
    """The whole frame `[H, W, 3]` uint8 on the CPU, unchanged outside `setup.box` and the mask."""
    x0, y0, x1, y1 = setup.box
    frame = setup.portrait.image.clone()
    picture = picture.clamp_(0, 255).cpu()
    if setup.mask is not None:
        still = frame[y0:y1, x0:x1].permute(2, 0, 1).float()
        picture = torch.lerp(still, picture, setup.mask[:, y0:y1, x0:x1])
    frame[y0:y1, x0:x1] = picture.add_(0.5).to(torch.uint8).permute(1, 2, 0)
    return frame
