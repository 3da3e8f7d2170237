"""What a renderer that works in windows of 16 frames adds to the frames that it is given.

A head that turns fastest, or eyes that blink, just where windows meet say nothing about the
windows. The pose frames, which move as the head and the eyes do, are therefore taken away first.
"""

from dataclasses import dataclass

import numpy as np

WINDOW, SHARED = 16, 4
STRIDE = WINDOW - SHARED
TAKEOVER = range(STRIDE - 1, WINDOW)  # steps in which a window fades into the next, of each stride


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A rendered clip beside the frames that hold its pose."""

    frames: np.ndarray  # [T, h, w, 3] float32, 0 … 255
    posed: np.ndarray  # the same without what the renderer adds
    inside: np.ndarray  # [h, w] bool, the lower face

    @property
    def own(self):
        """What the renderer adds, `[T, h, w, 3]`."""
        return self.frames - self.posed

    def windows(self):
        """The frames that belong to one window alone, as a list of `[8, h, w, 3]`."""
        starts = range(SHARED, len(self.frames) - STRIDE + SHARED, STRIDE)
        return [self.frames[start : start + STRIDE - SHARED] for start in starts]

    def colours(self):
        """The mean colour inside, of each window, `[windows, 3]`."""
        return np.stack([window[:, self.inside].mean((0, 1)) for window in self.windows()])


def lower_face(landmarks, shape):
    """The box from nose to chin of `landmarks [68, 2]` in a picture of `shape`, `[h, w]` bool."""
    (left, _), (right, _) = landmarks[4:13].min(0), landmarks[4:13].max(0)
    top, bottom = landmarks[33, 1], landmarks[8, 1]
    y, x = np.indices(shape)
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def change(frames, inside=None):
    """How much each step changes, `[T - 1]`."""
    steps = np.abs(frames[1:] - frames[:-1]).mean(-1)
    return steps.mean((1, 2)) if inside is None else steps[:, inside].mean(1)


def by_phase(curves):
    """Mean of curves `[T - 1]` at each of a stride's steps, over all windows and clips."""
    return np.array(
        [
            np.mean([value for curve in curves for value in curve[STRIDE + phase :: STRIDE]])
            for phase in range(STRIDE)
        ]
    )


def takeover_ratio(curves):
    """The fastest step of the takeover, of the median of all steps of a stride.

    A mean over many windows and clips: one blink at one border does not move it, a jump at every
    border does.
    """
    phases = by_phase(curves)
    return max(phases[step % STRIDE] for step in TAKEOVER) / np.median(phases)
