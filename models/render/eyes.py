"""The eyes: lids that close over the eyeball, and an iris that moves behind them.

An eye is repainted in the portrait's texture before the head moves it: skin above and below the opening slides with
the lids, and what lies between is the eyeball, whose white has been completed where the iris and the lids hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..motion.arkit import INDEX
from ..payloads import Portrait
from .head import smoothstep
from .mouth import SAMPLES, read_table
from .texture import Texture

MEETING = 0.86  # where closed lids meet, from the upper (0) to the lower lid (1)
GAZE_ACROSS, GAZE_ALONG = (
    0.30,
    0.42,
)  # of half the eye's width, the iris' way up or down and sideways at weight 1
LASHES = 0.16  # of half the eye's width, how far the dark of the lashes reaches above the lid's edge
CLEAN_LID = 0.85  # share of clean skin where a lid has unrolled; the rest keeps its texture
LASH_WIDTH = 0.08  # of half the eye's width, the skin at a lid's edge that never stretches
_CONTOURS_68 = (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45)))
_CONTOURS_DENSE = (
    ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133)),
    ((362, 398, 384, 385, 386, 387, 388, 466, 263), (362, 382, 381, 380, 374, 373, 390, 249, 263)),
)
_IRISES = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))  # centre, then four on the rim
_BROWS = ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26))
_SIDES = ("Right", "Left")


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye in a texture, in its own axes: along from the picture's left corner to the right, across downwards."""

    rows: slice
    columns: slice
    source: Tensor  # [1, 3, h, w], the patch as it is
    eyeball: Tensor  # [1, 3, h, w], white of the eye without iris, completed under the lids
    skin: Tensor  # [1, 3, h, w], what the lids would look like without lashes and folds
    iris: Tensor  # [1, 4, h, w], iris and pupil with coverage, completed under the lids
    along: Tensor  # [h, w], -1 … 1 between the corners
    across: Tensor  # [h, w], half-widths, 0 on the line between the corners
    axes: Tensor  # [2, 2]
    half: float  # half the width of the eye, texture pixels
    upper: Tensor  # [SAMPLES], half-widths
    lower: Tensor  # [SAMPLES]
    room: float  # half-widths of skin above the opening that may stretch
    outward: float  # +1 where the person's outer corner is on the right of the picture
    side: str

    @classmethod
    def of(cls, portrait: Portrait, texture: Texture, which: int) -> Eye:
        """The person's right (0) or left (1) eye."""
        upper_points, lower_points = _contours(portrait, which)
        right, left = upper_points[0], upper_points[-1]
        half = float((left - right).norm() / 2)
        direction = (left - right) / (2 * half)
        axes = torch.stack((direction, torch.stack((-direction[1], direction[0]))))
        origin = (left + right) / 2
        tables = [_lid((edge - origin) @ axes.T / half) for edge in (upper_points, lower_points)]
        upper, lower = tables[0].minimum(tables[1] - 0.02), tables[1]
        brow = (portrait.landmarks[list(_BROWS[which]), :2] - origin) @ axes.T / half
        room = float((upper.min() - brow[:, 1].max()).clamp(0.35, 0.9)) * 0.9
        x, y = origin.tolist()
        reach = 1.5 * half
        rows, columns = texture.patch((x - reach, y - reach, x + reach, y + reach))
        device = texture.pixels.device
        axes, origin = axes.to(device), origin.to(device)
        points = texture.points(rows, columns)
        along, across = torch.einsum("ab,bhw->ahw", axes, points - origin.view(2, 1, 1)) / half
        source = texture.pixels[:, :, rows, columns].contiguous()
        iris = _iris(portrait, which, origin, axes, half, upper, lower)
        upper, lower = upper.to(device), lower.to(device)
        eyeball, skin, disc = _complete(source, along, across, upper, lower, iris, half * texture.scale)
        return cls(
            rows, columns, source, eyeball, skin, disc, along, across, axes, half * texture.scale,
            upper, lower, room, 1.0 if which else -1.0, _SIDES[which],
        )  # fmt: skip

    def paint(self, weights: Tensor) -> Tensor | None:
        """The patch `[3, h, w]` under ARKit weights `[52]`; None where nothing about this eye moves."""
        upper_shift, lower_shift, gaze = self._lids_and_gaze(weights)
        if not (upper_shift.any() or lower_shift.any() or any(gaze)):
            return None
        upper, lower, up_shift, low_shift = read_table(
            torch.stack(
                (self.upper + upper_shift, self.lower + lower_shift, upper_shift, lower_shift)
            ),
            self.along,
        )
        sharp = 0.7 / self.half  # a lid's edge is about a texture pixel and a half wide
        above = ((upper - self.across) / sharp + 0.5).clamp(0, 1)
        below = ((self.across - lower) / sharp + 0.5).clamp(0, 1) * (1 - above)
        inside = (1 - above - below).clamp(min=0) * smoothstep((1 - self.along.abs()) / 0.04)
        lid = self._lid(upper - self.across, up_shift)
        under = self._shift(
            self.source, 0 * self.along, -self._stretch(self.across - lower, low_shift, 0.6)
        )
        ball = self._ball(gaze, upper, up_shift)
        skin = torch.where(self.across < (upper + lower) / 2, lid, under)
        return above * lid + below * under + (1 - above - below - inside) * skin + inside * ball

    def _lid(self, from_edge: Tensor, shift: Tensor) -> Tensor:
        """The upper lid `from_edge` above its moved edge: its lashes, clean skin where it unrolled, then the old skin."""
        stretched = self._shift(
            self.source, 0 * self.along, self._stretch(from_edge, -shift, self.room)
        )
        unrolled = smoothstep((from_edge - 0.3 * LASHES) / LASHES)
        unrolled = unrolled * smoothstep((shift + 1.6 * LASHES - from_edge) / (1.2 * LASHES))
        share = CLEAN_LID * unrolled * smoothstep(shift / 0.12)
        return torch.lerp(stretched, self.skin[0], share)

    def _lids_and_gaze(self, weights: Tensor) -> tuple[Tensor, Tensor, tuple[float, float]]:
        def weight(name: str) -> float:
            return float(weights[INDEX[f"{name}{self.side}"]].clamp(0, 1))

        blink, squint, wide = weight("eyeBlink"), weight("eyeSquint"), weight("eyeWide")
        up, down = weight("eyeLookUp"), weight("eyeLookDown")
        opening = (self.lower - self.upper).clamp(min=0)
        # Lids go with the gaze: they hide the white above an eye that looks down.
        lowered = blink + (1 - blink) * (0.18 * squint + 0.42 * down - 0.17 * wide - 0.10 * up)
        raised = blink + (1 - blink) * (2.2 * squint - 0.35 * down)
        upper_shift = opening * MEETING * lowered
        lower_shift = -opening * (1 - MEETING) * raised
        sideways = (weight("eyeLookOut") - weight("eyeLookIn")) * self.outward
        return upper_shift, lower_shift, (GAZE_ALONG * sideways, GAZE_ACROSS * (down - up))

    def _stretch(self, distance: Tensor, shift: Tensor, room: float) -> Tensor:
        """How far skin at `distance` from a moved lid's edge has come from, across; the edge itself moves as a whole."""
        fade = (distance - LASH_WIDTH) / (room + shift.abs() - LASH_WIDTH).clamp(min=1e-3)
        return shift * (1 - smoothstep(fade))

    def _shift(self, planes: Tensor, along: Tensor, across: Tensor) -> Tensor:
        """`planes` read at an offset in the eye's axes (half-widths): `[C, h, w]`."""
        height, width = planes.shape[-2:]
        offset = torch.einsum("ab,ahw->bhw", self.axes, torch.stack((along, across))) * self.half
        x = torch.arange(width, device=planes.device) + offset[0]
        y = torch.arange(height, device=planes.device)[:, None] + offset[1]
        grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), -1)[None]
        return F.grid_sample(planes, grid, padding_mode="border", align_corners=True)[0]

    def _ball(self, gaze: tuple[float, float], upper: Tensor, up_shift: Tensor) -> Tensor:
        sideways, downwards = gaze
        moved = min(1.0, (sideways**2 + downwards**2) ** 0.5 / 0.04)
        full = torch.full_like(self.along, 1.0)
        iris = self._shift(self.iris, -sideways * full, -downwards * full)
        completed = torch.lerp(self.eyeball[0], iris[:3], iris[3])
        shade = 1 - 0.35 * torch.exp(-(((self.across - upper).clamp(min=0) / 0.12) ** 2))
        completed = completed * shade
        # Without gaze only what a raised lid uncovers has to be invented.
        hidden = ((upper - up_shift - self.across) / 0.06 + 0.5).clamp(0, 1)
        return torch.lerp(self.source[0], completed, hidden.maximum(hidden.new_tensor(moved)))


def _contours(portrait: Portrait, which: int) -> tuple[Tensor, Tensor]:
    if portrait.dense is not None:
        return tuple(portrait.dense[list(edge), :2] for edge in _CONTOURS_DENSE[which])
    return tuple(portrait.landmarks[list(edge), :2] for edge in _CONTOURS_68[which])


def _lid(points: Tensor) -> Tensor:
    """A lid's edge `[K, 2]` in the eye's axes as a function of the position along, `[SAMPLES]`."""
    from scipy.interpolate import PchipInterpolator

    along, across = points[:, 0].double(), points[:, 1].double()
    order = along.argsort()
    along, across = along[order], across[order]
    keep = torch.cat((torch.tensor([True]), along.diff() > 1e-3))
    curve = PchipInterpolator(along[keep].numpy(), across[keep].numpy())
    where = torch.linspace(-1, 1, SAMPLES, dtype=torch.float64).clamp(along[0], along[-1])
    return torch.from_numpy(curve(where.numpy())).float()


def _iris(
    portrait: Portrait,
    which: int,
    origin: Tensor,
    axes: Tensor,
    half: float,
    upper: Tensor,
    lower: Tensor,
) -> tuple[float, float, float]:
    """Centre and radius of the iris in the eye's axes, half-widths."""
    origin, axes = origin.cpu(), axes.cpu()
    if portrait.dense is not None:
        ring = (portrait.dense[list(_IRISES[which]), :2] - origin) @ axes.T / half
        radius = float((ring[1:] - ring[0]).norm(dim=1).mean())
        return float(ring[0, 0]), float(ring[0, 1]), radius
    middle = SAMPLES // 2
    return 0.0, float(upper[middle] * 0.55 + lower[middle] * 0.45), 0.40


def _complete(
    source: Tensor, along: Tensor, across: Tensor, upper: Tensor, lower: Tensor,
    iris: tuple[float, float, float], half: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The white of the eye without its iris, the lids without lashes, both `[1, 3, h, w]`, and the whole iris with coverage `[1, 4, h, w]`."""
    x, y, radius = iris
    lids = read_table(torch.stack((upper, lower)), along)
    margin = 0.07
    open_ = smoothstep((across - lids[0] - margin) / 0.06) * smoothstep(
        (lids[1] - across - margin) / 0.06
    )
    open_ = open_ * (along.abs() < 0.94)
    distance = ((along - x) ** 2 + (across - y) ** 2).sqrt()
    white = open_ * smoothstep((distance - 1.08 * radius) / 0.06)
    eyeball = _fill(source, white[None, None], half)
    coverage = smoothstep((1.04 * radius - distance) / 0.12 + 0.5)
    seen = open_[None, None]
    mirrored = _mirror(torch.cat((source, seen), 1), along, across, y)
    both = source * seen + mirrored[:, :3] * mirrored[:, 3:] * (1 - seen)
    share = seen + mirrored[:, 3:] * (1 - seen)
    disc = _fill(both / share.clamp(min=1e-3), share * (distance < 1.1 * radius), half * 0.4)
    bare = smoothstep((lids[0] - across - 1.4 * LASHES) / 0.05) + smoothstep((across - lids[1] - LASHES) / 0.05)
    bare = bare.clamp(max=1)
    skin = _fill(source, bare[None, None], half)
    return eyeball, skin, torch.cat((disc, coverage[None, None]), 1)


def _mirror(planes: Tensor, along: Tensor, across: Tensor, centre: float) -> Tensor:
    """`planes` turned upside down about the iris' centre."""
    height, width = planes.shape[-2:]
    # Row and column steps of the axes, read off the patch itself, invert the axes for us.
    du, dv = along[0, 1] - along[0, 0], across[0, 1] - across[0, 0]
    eu, ev = along[1, 0] - along[0, 0], across[1, 0] - across[0, 0]
    scale = du * ev - dv * eu
    down = 2 * (centre - across)
    x = torch.arange(width, device=planes.device) - eu * down / scale
    y = torch.arange(height, device=planes.device)[:, None] + du * down / scale
    grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), -1)[None]
    return F.grid_sample(planes, grid, align_corners=True)


def _fill(planes: Tensor, known: Tensor, half: float) -> Tensor:
    """`planes` where `known`, elsewhere their weighted neighbourhood, near before far."""
    from kornia.filters import gaussian_blur2d

    filled = planes
    estimate, trust = torch.zeros_like(planes), torch.zeros_like(known)
    for sigma in (0.06, 0.15, 0.4, 1.0):
        size = 2 * int(min(2.5 * sigma * half, min(planes.shape[-2:]) / 2 - 2)) + 1
        width = max(sigma * half, 0.3)
        colour = gaussian_blur2d(planes * known, (size, size), (width, width))
        weight = gaussian_blur2d(known, (size, size), (width, width))
        share = (weight / 0.05).clamp(max=1) * (1 - trust)
        estimate = estimate + share * colour / weight.clamp(min=1e-4)
        trust = trust + share
    estimate = estimate / trust.clamp(min=1e-3)
    return torch.lerp(estimate, filled, known)
