"""Whether guided noise that a user gives belongs to what a renderer is to draw."""

from __future__ import annotations

from ..payloads import GuidedNoise, Motion, PayloadError, Portrait

SMALLEST_STEP = 8  # the square's side is a multiple, pixels: U-Nets halve it up to three times


def checked_side(
    noise: GuidedNoise, portrait: Portrait, motion: Motion, *, crop_only: bool = False
) -> int:
    """The side of the noise's square in pixels, if it belongs to portrait and motion.

    Args:
        noise: what was given.
        portrait, motion: what is to be drawn.
        crop_only: refuse noise that shows the whole picture, squeezed.

    Raises:
        PayloadError: it was made from another motion or portrait, or is no square of such a side.
    """
    frames, _, height, width = noise.frames.shape
    if frames != motion.timeline.num_frames:
        raise PayloadError(
            f"The guided noise has {frames} frames and the motion {motion.timeline.num_frames}."
            " Make the noise from the same motion."
        )
    other = noise.portrait
    same = other.size == portrait.size and bool((other.crop == portrait.crop).all())
    if other is not portrait and not same:
        raise PayloadError(
            "The guided noise was made for another portrait, or another crop of it. Make it from"
            " the portrait that is rendered."
        )
    if crop_only and noise.whole_picture:
        raise PayloadError(
            "The guided noise shows the whole picture, as published; this renderer draws in the"
            " square of the portrait. Set 'mode' of Landmark-Guided Noise to 'default'."
        )
    if height != width or height % SMALLEST_STEP:
        raise PayloadError(
            f"The guided noise is {width}×{height}; ATL-Diff's renderers need squares whose side is"
            f" a multiple of {SMALLEST_STEP}, such as 128 or 256."
        )
    return height
