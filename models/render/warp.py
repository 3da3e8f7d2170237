"""The warp renderer: a portrait speaks by bending its own picture. Needs no weights.

Per frame: the rig moves the 68 landmarks, two smooth fields carry the upper and the lower face (`mouth.py`), the solid
head turns them in depth (`head.py`), the map is inverted on a lattice (`field.py`), and the picture, its eyes repainted
(`eyes.py`), is sampled through it. Where neither lip reaches, the inside of the mouth shows (`interior.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..motion.rig import Rig, load_rig
from ..payloads import Motion, PayloadError, Portrait
from ..portrait.geometry import euler_to_matrix
from .eyes import Eye
from .field import Lattice, enlarge, invert
from .head import Head, HeadMotion
from .interior import Interior
from .mouth import EYES, LipFields, Mouth, lip_closing
from .palette import Palette
from .texture import Texture

JAW_AT_TEETH = 1.3  # the lower teeth's way in the chin's: the skin of the chin lags behind its bone
LOWER_FACE = (*range(17), *range(48, 68))  # jaw and lips
CELLS = 112  # along the longer side of the region that can move
LIP_FEATHER = 0.008  # inter-ocular distances over which a lip's edge fades into the dark behind it


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that depends on the portrait alone."""

    portrait: Portrait
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
    attachment: Tensor  # [rows, columns]
    neutral: Tensor  # [68, 3], the face at rest in the rig's frame
    lower_face: float  # size of the lower face relative to the rig's
    to_picture: Tensor  # [3, 3], from the rig's frame and unit to pixels
    mouth_depth: float  # z of the teeth, pixels
    mask: Tensor | None  # [H, W, 1], where the picture may change


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
                f"The warp renderer moves by {self.space}, but {motion.space} motion was given. Convert it first."
            )
        if batch < 1:
            raise PayloadError(f"A batch of {batch} frames was asked for; at least 1 is needed.")
        setup = self.prepare(portrait)
        total = motion.timeline.num_frames
        for start in range(0, total, batch):
            frames = []
            for index in range(start, min(start + batch, total)):
                frames.append(
                    self.frame(
                        setup,
                        motion.values[index],
                        rotation=motion.rotation[index],
                        translation=motion.translation[index],
                        scale=motion.scale[index],
                    )
                )
                if on_frame:
                    on_frame(index + 1, total)
            yield torch.stack(frames)

    @torch.inference_mode()
    def prepare(self, portrait: Portrait) -> Setup:
        """What all frames of a portrait share; takes about a second and may be kept."""
        device = self.device
        head = Head.of(portrait, device)
        mouth = Mouth.of(portrait, device)
        lattice = Lattice.around(head.box(), CELLS)
        height, width = portrait.size
        visible = lattice.window((0, 0, width - 1, height - 1))
        nodes = lattice.nodes(device)
        landmarks = portrait.landmarks.to(device)
        texture = _cut_texture(portrait, lattice, device)
        pose = euler_to_matrix(torch.tensor(portrait.rotation))
        neutral = self.rig.neutral_of(portrait)
        mask = None if portrait.mask is None else portrait.mask[..., None]
        return Setup(
            portrait=portrait,
            head=head,
            mouth=mouth,
            lips=LipFields.over(mouth, nodes.flatten(1), landmarks[:, :2]),
            eyes=(Eye.of(portrait, texture, 0), Eye.of(portrait, texture, 1)),
            interior=Interior.paint(Palette.of(portrait), mouth, device),
            texture=texture,
            lattice=lattice,
            visible=visible,
            nodes=nodes,
            depth=head.depth(nodes, landmarks),
            attachment=head.attachment(nodes),
            neutral=neutral,
            lower_face=_lower_face(self.rig, neutral),
            to_picture=(pose.T * portrait.interocular).to(device),
            mouth_depth=float(landmarks[[61, 62, 63], 2].mean()) + 0.08 * head.interocular,
            mask=mask,
        )

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
        head = HeadMotion.of(setup.head, rotation.float(), translation.float(), scale)
        offsets = self.landmark_offsets(setup, weights)
        closing = float(lip_closing(weights[None])[0])
        moved = move(setup, offsets, closing, head)
        sources = invert(setup.lattice, setup.nodes, moved)
        texture = _with_eyes(setup, weights)
        picture, box = _sample(setup, texture, sources)
        paint_mouth(setup, picture, texture, sources, (moved, offsets, head, weights))
        return _compose(setup, picture, box)

    def landmark_offsets(self, setup: Setup, weights: Tensor) -> Tensor:
        """How far the landmarks move in the picture under `weights [52]`, `[68, 3]` pixels; lids excluded."""
        offsets = self.rig.offsets(weights[None].float(), setup.neutral)[0]
        offsets[list(EYES)] = 0
        offsets[list(LOWER_FACE)] *= setup.lower_face
        return offsets.to(self.device) @ setup.to_picture


def load(device: torch.device | str = "cpu") -> WarpRenderer:
    """The ready renderer."""
    return WarpRenderer(device)


def move(setup: Setup, offsets: Tensor, closing: float, head: HeadMotion) -> Tensor:
    """Where the lattice's nodes go in a frame by the upper and by the lower field, `[2, 2, rows, columns]`."""
    shape = setup.depth.shape
    both = []
    for side in setup.lips.displacements(offsets, setup.mouth, closing):
        shift = side.view(3, *shape)
        points = setup.nodes + shift[:2]
        turned = head.offsets(points, setup.depth + shift[2])
        both.append(points + setup.attachment * turned)
    return torch.stack(both)


def _lower_face(rig: Rig, neutral: Tensor) -> float:
    """How far it is from the nose to the chin, compared with the face the rig was made from: jaws travel in proportion."""
    own, average = ((face[8] - face[33]).norm() for face in (neutral, rig.mean_face))
    return float((own / average).clamp(0.5, 1.2))


def _cut_texture(portrait: Portrait, lattice: Lattice, device: torch.device) -> Texture:
    height, width = portrait.size
    margin = int(0.8 * float(portrait.interocular)) + 2
    pixel_height, pixel_width = lattice.pixels
    x0, y0 = max(lattice.x0, -margin), max(lattice.y0, -margin)
    x1 = min(lattice.x0 + pixel_width - 1, width - 1 + margin)
    y1 = min(lattice.y0 + pixel_height - 1, height - 1 + margin)
    return Texture.cut(portrait.image, (x0, y0, x1, y1), device)


def _with_eyes(setup: Setup, weights: Tensor) -> Texture:
    painted = [(eye, eye.paint(weights)) for eye in setup.eyes]
    return setup.texture.with_patches(
        [((eye.rows, eye.columns), patch) for eye, patch in painted if patch is not None]
    )


def _sample(
    setup: Setup, texture: Texture, sources: Tensor
) -> tuple[Tensor, tuple[int, int, int, int]]:
    """The warped part of the picture `[3, h, w]`, 0 … 255, and where it belongs (x0, y0, x1, y1)."""
    rows, columns = setup.lattice.slices(setup.visible)
    upper, lower = sources[0, :, rows, columns], sources[1, :, rows, columns]
    from_upper = setup.mouth.beyond_edges(upper)[0] < 0
    chosen = torch.where(from_upper, upper, lower)
    grid = enlarge(texture.normalise(chosen), setup.visible)[0]
    height, width = setup.portrait.size
    x0, y0 = max(setup.visible.x0, 0), max(setup.visible.y0, 0)
    x1 = min(setup.visible.x0 + setup.visible.pixels[1], width)
    y1 = min(setup.visible.y0 + setup.visible.pixels[0], height)
    part = grid[
        :,
        y0 - setup.visible.y0 : y1 - setup.visible.y0,
        x0 - setup.visible.x0 : x1 - setup.visible.x0,
    ]
    return texture.sample(part), (x0, y0, x1, y1)


def paint_mouth(
    setup: Setup,
    picture: Tensor,
    texture: Texture,
    sources: Tensor,
    state: tuple[Tensor, Tensor, HeadMotion, Tensor],
) -> None:
    """Draw lips and what is between them into `picture [3, h, w]`, in place."""
    moved, offsets, head, weights = state
    window = _mouth_window(setup, moved)
    rows, columns = setup.lattice.slices(window)
    upper = enlarge(sources[0, :, rows, columns], window)[0]
    lower = enlarge(sources[1, :, rows, columns], window)[0]
    mouth, unit = setup.mouth, setup.head.interocular
    below_upper, upper_to_lower = mouth.beyond_edges(upper)
    _, below_lower = mouth.beyond_edges(lower)
    feather = max(1.0, LIP_FEATHER * unit)
    on_upper = (0.5 - below_upper / feather).clamp(0, 1)
    on_lower = (0.5 + below_lower / feather).clamp(0, 1)
    total = on_upper + on_lower
    inside = (1 - total).clamp(min=0)
    skin_upper, skin_lower = (texture.sample(texture.normalise(p)) for p in (upper, lower))
    colour = (skin_upper * on_upper + skin_lower * on_lower) / total.clamp(min=1)
    if bool((inside > 0).any()):
        colour = colour + inside * _inside(
            setup,
            window,
            (offsets, head, weights),
            (below_upper, upper_to_lower, below_lower),
            skin_upper,
        )
    _place(picture, colour, window, setup)


def _inside(
    setup: Setup,
    window: Lattice,
    state: tuple[Tensor, HeadMotion, Tensor],
    edges: tuple[Tensor, Tensor, Tensor],
    native: Tensor,
) -> Tensor:
    """What shows between the lips at the pixels of `window`, `[3, h, w]`: the portrait's own mouth, then ours."""
    offsets, head, weights = state
    below_upper, upper_to_lower, below_lower = edges
    mouth, unit = setup.mouth, setup.head.interocular
    height, width = window.pixels
    pixels = Lattice(window.x0, window.y0, 1, width, height).nodes(native.device)
    on_skull = head.undo_on_plane(pixels, setup.mouth_depth)
    on_jaw = on_skull - offsets[7:10, :2].mean(0).view(2, 1, 1) * JAW_AT_TEETH
    skull, jaw = mouth.teeth(on_skull, mouth.upper), mouth.teeth(on_jaw, mouth.lower)
    gap = (below_upper - below_lower).clamp(min=0)
    drawn = setup.interior.show(skull, jaw, below_upper / unit, gap / unit, float(weights[51]))
    # The portrait's own teeth and shadow stay on the skull, until the lips are wider apart than in the picture.
    rest = below_upper - upper_to_lower
    more = (gap - rest).clamp(min=0)
    fade = 0.6 * torch.minimum(more, 0.7 * rest)
    share = (1 - (upper_to_lower + fade) / fade.clamp(min=1e-3)).clamp(0, 1)
    return torch.lerp(drawn, native, share)


def _mouth_window(setup: Setup, moved: Tensor) -> Lattice:
    """The part of the visible lattice where the two sides of the lips may differ."""
    edges = torch.stack(setup.mouth.line())[:, :, None]
    landed = setup.lattice.read(moved, edges)[:, :, 0].permute(1, 0, 2).flatten(1)
    (x0, y0), (x1, y1) = landed.min(1).values.tolist(), landed.max(1).values.tolist()
    margin = 2.5 * setup.lattice.cell
    return setup.visible.window((x0 - margin, y0 - margin, x1 + margin, y1 + margin))


def _place(picture: Tensor, colour: Tensor, window: Lattice, setup: Setup) -> None:
    """Write `colour` over the pixels of `window` inside the picture."""
    left, top = window.x0 - max(setup.visible.x0, 0), window.y0 - max(setup.visible.y0, 0)
    height, width = picture.shape[1:]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + colour.shape[1], height), min(left + colour.shape[2], width)
    picture[:, y0:y1, x0:x1] = colour[:, y0 - top : y1 - top, x0 - left : x1 - left]


def _compose(setup: Setup, picture: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    x0, y0, x1, y1 = box
    frame = setup.portrait.image.clone()
    picture = picture.clamp(0, 255).cpu()
    if setup.mask is not None:
        mask = setup.mask[y0:y1, x0:x1].permute(2, 0, 1)
        still = frame[y0:y1, x0:x1].permute(2, 0, 1).float()
        picture = torch.lerp(still, picture, mask)
    frame[y0:y1, x0:x1] = (picture + 0.5).to(torch.uint8).permute(1, 2, 0)
    return frame
