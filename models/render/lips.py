"""Drawing a moving mouth: both lips with a sharp edge, and between them the inside of the mouth.

The two fields of `mouth.py` say for every pixel where it would come from on the upper lip and on
the lower lip. Where the first really lies on the upper lip or the second on the lower one, it shows
that lip; where neither does, the mouth is open (`interior.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .field import Lattice, enlarge
from .setup import FrameMotion, Setup

LIP_FEATHER = 0.008  # inter-ocular distances over which a lip's edge fades into what is behind it
OWN_MOUTH = 0.7  # share of a portrait's own opening that counts as lit and drawn already


def paint_mouth(
    setup: Setup, picture: Tensor, moved: Tensor, sources: Tensor, frame: FrameMotion
) -> None:
    """Draw lips and what is between them, in place.

    Args:
        setup: the portrait.
        picture: `[3, h, w]`, 0 … 255, the pixels of `setup.box`.
        moved: `[2, 2, rows, columns]`, where the lattice's nodes go by the two fields.
        sources: `[2, 2, rows, columns]`, where those of `setup.visible` come from.
        frame: the motion.
    """
    window = _window(setup, moved)
    rows, columns = setup.visible.slices(window)
    upper, lower = (enlarge(side[:, rows, columns], window)[0] for side in sources)
    below_upper, upper_to_lower = setup.mouth.beyond_edges(upper)
    _, below_lower = setup.mouth.beyond_edges(lower)
    feather = max(1.0, LIP_FEATHER * setup.head.interocular)
    on_upper = (0.5 - below_upper / feather).clamp(0, 1)
    on_lower = (0.5 + below_lower / feather).clamp(0, 1)
    total = on_upper + on_lower
    inside = (1 - total).clamp(min=0)
    texture = setup.texture
    from_upper, from_lower = (texture.sample(texture.normalise(p)) for p in (upper, lower))
    colour = (from_upper * on_upper + from_lower * on_lower) / total.clamp(min=1)
    if bool((inside > 0).any()):
        edges = below_upper, upper_to_lower, below_lower
        colour = colour + inside * _inside(setup, window, frame, edges, from_upper)
    _place(picture, colour, window, setup.box)


def _inside(
    setup: Setup,
    window: Lattice,
    frame: FrameMotion,
    edges: tuple[Tensor, Tensor, Tensor],
    own: Tensor,
) -> Tensor:
    """What shows between the lips, `[3, h, w]`: the portrait's `own` mouth as far as it goes."""
    below_upper, upper_to_lower, below_lower = edges
    mouth, unit = setup.mouth, setup.head.interocular
    height, width = window.pixels
    pixels = Lattice(window.x0, window.y0, 1, width, height).nodes(own.device)
    on_skull = frame.head.undo_on_plane(pixels, setup.mouth_depth)
    shift = setup.lips.teeth_shift(frame.offsets, mouth, frame.lips)
    skull = mouth.teeth(on_skull, mouth.upper)
    jaw = mouth.teeth(on_skull - shift.view(2, 1, 1), mouth.lower)
    gap = (below_upper - below_lower).clamp(min=0)
    rest = (below_upper - upper_to_lower).clamp(min=0)
    open_to_light = (gap - OWN_MOUTH * rest).clamp(min=0) / unit
    drawn = setup.interior.show(skull, jaw, below_upper / unit, open_to_light, frame.tongue_out)
    # The portrait's own teeth stay on the skull; what the lips bare beyond them is drawn.
    fade = 0.6 * torch.minimum((gap - rest).clamp(min=0), OWN_MOUTH * rest)
    share = (1 - (upper_to_lower + fade) / fade.clamp(min=1e-3)).clamp(0, 1)
    return torch.lerp(drawn, own, share)


def _window(setup: Setup, moved: Tensor) -> Lattice:
    """The part of the visible lattice where the two sides of the lips may differ."""
    edges = torch.stack(setup.mouth.line())[:, :, None]
    landed = setup.lattice.read(moved, edges)[:, :, 0].permute(1, 0, 2).flatten(1)
    (x0, y0), (x1, y1) = landed.min(1).values.tolist(), landed.max(1).values.tolist()
    margin = 2.5 * setup.lattice.cell
    return setup.visible.window((x0 - margin, y0 - margin, x1 + margin, y1 + margin))


def _place(
    picture: Tensor, colour: Tensor, window: Lattice, box: tuple[int, int, int, int]
) -> None:
    """Write the pixels of `window` into the picture that shows `box`."""
    left, top = window.x0 - box[0], window.y0 - box[1]
    height, width = picture.shape[1:]
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + colour.shape[1], height), min(left + colour.shape[2], width)
    picture[:, y0:y1, x0:x1] = colour[:, y0 - top : y1 - top, x0 - left : x1 - left]
