"""How fast the mouth changes where two windows of the identity diffusion meet, and everywhere.

    python -m soliloquy.training.window_borders PICTURE SOUND … --face-landmarker FILE

The renderer draws windows of 30 frames that fade into each other over 6. If they drew differently,
the mouth would change faster there than its movement asks for. The sounds are said one after the
other in one clip by the bundled landmark generator, and the rendered frames are measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..models.motion import atl_diff as generator
from ..models.motion.posed import posed_landmarks
from ..models.motion.spaces import convert
from ..models.payloads import Motion, Portrait, Timeline
from ..models.portrait.crop import prepare_portrait, read_image
from ..models.render.identity_diffusion.renderer import (
    OVERLAP,
    IdentityDiffusionRenderer,
    load,
    windows,
)
from ..models.speech import atl_diff as ear
from ..models.speech.audio import MODEL_RATE, read_sound
from .image_measures import MOUTH, share_below

FPS = 25
AROUND = 0.4  # of the mouth's box that counts beside it, in its width


def mouth_changes(
    renderer: IdentityDiffusionRenderer, portrait: Portrait, motion: Motion
) -> Tensor:
    """Mean absolute change of the mouth's pixels into each frame but the first, `[T - 1]`, 0 … 255.

    Args:
        renderer: with its weights.
        portrait: whose mouth it is.
        motion: in the space `landmarks68`.
    """
    changes, before = [], None
    for frame, box in zip(
        _frames(renderer, portrait, motion), boxes(portrait, motion), strict=True
    ):
        if before is not None:
            rows, columns = box
            step = frame[rows, columns].float() - before[rows, columns].float()
            changes.append(step.abs().mean())
        before = frame
    return torch.stack(changes)


def _frames(
    renderer: IdentityDiffusionRenderer, portrait: Portrait, motion: Motion
) -> Iterator[Tensor]:
    for batch in renderer.render(portrait, motion):
        yield from batch


def boxes(portrait: Portrait, motion: Motion) -> list[tuple[slice, slice]]:
    """Rows and columns of the mouth and what is close, per frame."""
    mouth = posed_landmarks(motion, portrait)[:, MOUTH, :2]
    margin = AROUND * (mouth[:, 6, 0] - mouth[:, 0, 0]).abs()[:, None]
    low, high = (mouth.amin(1) - margin).floor(), (mouth.amax(1) + margin).ceil()
    height, width = portrait.size
    limit = torch.tensor([width, height])
    first = low.long().clamp(min=0).minimum(limit - 1)
    last = high.long().maximum(first + 1)
    corners = zip(first.tolist(), last.tolist(), strict=True)
    return [(slice(y0, y1), slice(x0, x1)) for (x0, y0), (x1, y1) in corners]


def at_borders(changes: Tensor) -> dict[str, float]:
    """The changes where windows meet, against all, from `mouth_changes`.

    Returns:
        How many windows meet; the mean change into the first frame of a window and into those over
        which it fades, in means of all; the share of first frames and of fading frames within the
        95th percentile of all.
    """
    starts = torch.tensor([start for start, _ in windows(len(changes) + 1)[1:]])
    first = changes[starts - 1]
    fading = torch.cat([changes[start - 1 : start + OVERLAP] for start in starts.tolist()])
    return {
        "borders": float(len(starts)),
        "change": float(first.mean() / changes.mean()),
        "change while fading": float(fading.mean() / changes.mean()),
        "within 95 %": share_below(first, changes),
        "within 95 % while fading": share_below(fading, changes),
    }


def said(portrait: Portrait, sounds: list[Path], seed: int = 0) -> Motion:
    """The bundled generator's motion for sounds one after the other, in the space `landmarks68`."""
    sound = torch.cat([read_sound(path)[1] for path in sounds], dim=1)
    timeline = Timeline.for_sound(sound.shape[-1], MODEL_RATE, FPS)
    speech = ear.load().encode(sound, MODEL_RATE, timeline)
    motion = generator.load().sample(speech, portrait, seed=seed)
    return convert(motion, IdentityDiffusionRenderer.space, portrait)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.window_borders",
        description="how fast the mouth changes where windows meet, and everywhere",
    )
    parser.add_argument("picture", type=Path, help="with a face")
    parser.add_argument("sounds", type=Path, nargs="+", help="20 seconds and more together")
    parser.add_argument("--face-landmarker", type=Path, metavar="FILE", help="MediaPipe's model")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="others than the bundled ones")
    given = parser.parse_args(arguments)
    portrait = prepare_portrait(read_image(given.picture), face_landmarker=given.face_landmarker)
    motion = said(portrait, given.sounds)
    changes = mouth_changes(load(path=given.weights), portrait, motion)
    for name, value in at_borders(changes).items():
        print(f"{name:<26}{value:8.3f}")


if __name__ == "__main__":
    main()
