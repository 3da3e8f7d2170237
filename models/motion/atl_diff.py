"""Speech to landmarks with ATL-Diff's generator, our own variant: any length, any frame rate.

Stage 3. The landmarks of the face come from the network; lids, brows and the head, which the sound
does not decide, from `gestures.py` and a seed. `kflm_motion.py` runs the published weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import Keyframes, Motion, PayloadError, Portrait, Speech
from ..sampling import OnStep
from ..speech.atl_diff import FEATURE_RATE
from ..speech.packed import unpack
from ..speech.starter import at_frames
from .dual_domain import EMOTIONS, DualDomain
from .gestures import gestures
from .rig import load_rig

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "atl_diff_landmarks.safetensors"
PIECE = 500  # features generated at a time, 10 s


@dataclass(kw_only=True, eq=False)
class ATLDiffMotion:
    """Speech → Motion in "landmarks68", from the speech stream "atl_diff"."""

    network: DualDomain
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # of the network
    emotion: str = "neutral"  # one of `EMOTIONS`
    intensity: float = 1.0  # of the emotion

    def sample(
        self,
        speech: Speech,
        portrait: Portrait | None = None,
        keyframes: Keyframes | None = None,
        *,
        steps: int | None = None,
        guidance: float | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Motion:
        """Speak.

        Args:
            speech: with the streams "atl_diff", "energy" and "f0" of this system's encoder.
            portrait: who speaks; without it the mean face does.
            keyframes, steps, guidance: not used, this model does not diffuse.
            seed: of blinks, brows and head motion.
            on_step: called with (pieces done, pieces in total).

        Raises:
            PayloadError: a stream is missing or comes from another encoder, or there is no such
            emotion.
        """
        timeline = speech.timeline
        stream = speech.stream("atl_diff", needed_by="ATL-Diff")
        width = self.network.config.inputs
        features = unpack(stream, width, FEATURE_RATE, timeline, "ATL-Diff")
        rig = load_rig()
        rest = rig.neutral_of(portrait) if portrait else rig.mean_face
        spoken = self.offsets(features, rest, on_step)
        around = gestures(speech, seed)
        values = at_frames(spoken.flatten(1), timeline).unflatten(1, (-1, 3))
        values = rig.keep_apart(values + rig.offsets(around.weights, rest), rest)
        return Motion(
            space="landmarks68",
            values=values,
            rotation=around.rotation,
            translation=around.translation,
            scale=around.scale,
            timeline=timeline,
        )

    @torch.no_grad()
    def offsets(
        self, features: Tensor, rest: Tensor, on_step: OnStep | None = None, piece: int = PIECE
    ) -> Tensor:
        """What the network says, `[N, 68, 3]` at 50 Hz, computed with overlap and without seams.

        Args:
            features: `[N, 192]`.
            rest: the face at rest, `[68, 3]` in inter-ocular distances, frontal.
            on_step: called with (pieces done, pieces in total).
            piece: features generated at a time.
        """
        emotion = emotion_mixture(self.emotion, self.intensity)[None].to(self.device)
        context, face = self.network.config.context, rest[None].to(self.device)
        starts, found = range(0, len(features), piece), []
        for done, start in enumerate(starts, 1):
            stop = min(start + piece, len(features))
            first = max(start - context, 0)
            heard = features[None, first : stop + context].to(self.device)
            moved = self.network(heard, face, emotion)[0, start - first : stop - first]
            found.append(moved.float().cpu())
            if on_step:
                on_step(done, len(starts))
        return torch.cat(found)


def emotion_mixture(name: str, intensity: float) -> Tensor:
    """How much of each emotion, `[8]`: `intensity` of the one called `name`, the rest neutral.

    Raises:
        PayloadError: there is no such emotion, or the intensity is not in 0 … 1.5.
    """
    if name not in EMOTIONS:
        raise PayloadError(f"'{name}' is not an emotion of ATL-Diff: {', '.join(EMOTIONS)}.")
    if not 0 <= intensity <= 1.5:
        raise PayloadError(f"An emotion has an intensity of 0 to 1.5, not {intensity:g}.")
    mixture = torch.zeros(len(EMOTIONS))
    mixture[EMOTIONS.index("neutral")] = 1 - intensity
    mixture[EMOTIONS.index(name)] += intensity
    return mixture


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> ATLDiffMotion:
    """The bundled generator, or one with the weights at `path`."""
    network = checkpoints.load("atl_diff_landmarks", path or WEIGHTS, operations)
    return ATLDiffMotion(network=network.to(device), device=torch.device(device))
