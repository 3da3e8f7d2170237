"""A face drawn by its landmarks, for tests that need a portrait and no picture from anywhere."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import Portrait
from soliloquy.models.portrait.geometry import euler_to_matrix
from soliloquy.models.portrait.mapping import mean_face, to_68

IRIS_RADIUS = 0.065  # inter-ocular distances
OUTER_LIPS = list(range(48, 60))
EYES = (list(range(36, 42)), list(range(42, 48)))


def drawn_face(height=320, width=256, *, interocular=72.0, rotation=(0.0, 0.0, 0.0), dense=False):
    """A `Portrait` of a drawn face, eyes open, lips closed, on a striped background."""
    pose = euler_to_matrix(torch.tensor(rotation))
    mesh = mean_face() @ pose.T * interocular
    mesh = mesh + torch.tensor([width / 2, 0.42 * height, 0.0])
    points = to_68(mesh)
    image = _draw(height, width, interocular, points[:, :2].numpy())
    low, high = points.min(0).values, points.max(0).values
    return Portrait(
        image=torch.from_numpy(image),
        landmarks=points.float(),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        crop=torch.eye(3, dtype=torch.float64),
        crop_size=256,
        rotation=rotation,
        dense=mesh.float() if dense else None,
    )


def weights(**named):
    """ARKit weights `[52]`; a name without a side counts for both."""
    values = torch.zeros(52)
    for name, value in named.items():
        for full in (name, f"{name}Left", f"{name}Right"):
            if full in INDEX:
                values[INDEX[full]] = value
    return values


def iris_centres(portrait):
    """Where the drawn irises are, `[2, 2]` pixels."""
    return torch.stack([portrait.landmarks[eye, :2].mean(0) for eye in EYES])


def _draw(height, width, unit, points):
    scale = 4 if max(height, width) < 700 else 2
    canvas = Image.new("RGB", (width * scale, height * scale))
    draw = ImageDraw.Draw(canvas)
    for i, x in enumerate(range(0, width * scale, 24 * scale)):
        stripe = (70, 90, 110) if i % 2 else (95, 115, 130)
        draw.rectangle((x, 0, x + 24 * scale, height * scale), fill=stripe)

    def oval(centre, radii, colour):
        low, high = (centre - radii) * scale, (centre + radii) * scale
        draw.ellipse((*low, *high), fill=colour)

    def polygon(indices, colour):
        draw.polygon([tuple(points[i] * scale) for i in indices], fill=colour)

    chin, eyes = points[8], (points[36] + points[45]) / 2
    middle = eyes + (chin - eyes) * 0.05
    oval(chin + np.array([0, 0.4 * unit]), np.array([0.5, 0.9]) * unit, (170, 125, 105))
    oval(middle, np.array([0.95 * unit, np.linalg.norm(chin - eyes)]), (205, 160, 138))
    for brow in (range(17, 22), range(22, 27)):
        draw.line(
            [tuple(points[i] * scale) for i in brow],
            fill=(80, 55, 40),
            width=int(0.05 * unit * scale),
        )
    polygon(OUTER_LIPS, (165, 70, 75))
    draw.line(
        [tuple(points[i] * scale) for i in (48, 61, 62, 63, 54)], fill=(95, 35, 40), width=scale
    )
    for eye in EYES:
        polygon(eye, (235, 232, 228))
        oval(points[eye].mean(0), np.full(2, IRIS_RADIUS * unit), (50, 40, 60))
    canvas = canvas.filter(ImageFilter.GaussianBlur(scale * 0.6)).resize((width, height), Image.BOX)
    noise = np.random.default_rng(0).normal(0, 2.0, (height, width, 1))
    return np.clip(np.asarray(canvas) + noise, 0, 255).astype(np.uint8)
