"""KSDiff's speech encoder at work: any sound, on any timeline, in pieces that join without a seam.

Stage 1. A frozen encoder hears 50 features a second, by default the bundled starter's, and the
dual-path encoder of `dual_path.py` makes of them what the face, the head and the words are about.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checkpoints
from ..payloads import PayloadError, Speech, Timeline
from . import mel, starter, wav2vec2
from .audio import MODEL_RATE, mono16k
from .dual_path import FEATURE_RATE, FRAME_RATE, PER_FRAME, DualPathSpeech, Heard, prosody_channels
from .prosody import prosody_streams
from .transcript import character_codes, spread

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "ksdiff_speech.safetensors"
PIECE = 1000  # features computed at a time, 20 s
Listener = Callable[[int, int], Tensor]  # (first, last) -> the frozen encoder's features [n, C]


class KSDiffSpeechEncoder:
    """Sound → "expression", "pose", "text" `[T, 128]`, "energy" `[T, 1]` and "f0" `[T, 1]`."""

    reads_transcripts = True

    def __init__(
        self,
        network: DualPathSpeech,
        frozen: nn.Module,
        device: str | torch.device = "cpu",
    ) -> None:
        """Both networks.

        Args:
            network: the dual-path encoder.
            frozen: the starter's network, or transformers' wav2vec 2.0 or HuBERT; what the
                dual-path encoder was trained on.
            device: where they compute.

        Raises:
            PayloadError: the frozen encoder has another number of channels.
        """
        self.network, self.frozen = network.to(device), frozen.to(device)
        self.device = torch.device(device)
        given, needed = _channels(frozen), network.config.inputs
        if given != needed:
            raise PayloadError(
                f"The frozen speech encoder has {given} channels, but this dual-path encoder was"
                f" trained on {needed}. Load the encoder that it was trained on."
            )

    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: Callable[[int, int], None] | None = None,
        *,
        transcript: str = "",
    ) -> Speech:
        """Listen.

        Args:
            waveform: `[C, S]` float, −1 … 1; channels are averaged.
            sample_rate: of the waveform, Hz.
            timeline: the frames to speak about.
            on_step: called with (pieces done, pieces in total).
            transcript: what is said, as far as it is known.

        Raises:
            PayloadError: the waveform is empty or not finite.
        """
        sound = mono16k(waveform, sample_rate)[0]
        fine = Timeline.for_sound(waveform.shape[1], sample_rate, FEATURE_RATE)
        voice = prosody_streams(waveform, sample_rate, fine)
        heard = self.hear(sound, voice, transcript, on_step)
        streams = {name: at_timeline(row, timeline) for name, row in heard._asdict().items()}
        streams |= prosody_streams(waveform, sample_rate, timeline)
        return Speech(streams=streams, timeline=timeline)

    @torch.no_grad()
    def hear(
        self,
        sound: Tensor,
        voice: dict[str, Tensor],
        transcript: str = "",
        on_step: Callable[[int, int], None] | None = None,
        *,
        piece: int = PIECE,
    ) -> Heard:
        """The three streams at 25 frames/s, `[T, D]` each.

        Args:
            sound: `[S]` at 16 kHz.
            voice: "energy" and "f0" `[N, 1]` of the same sound at 50 Hz.
            transcript: what is said.
            on_step: called with (pieces done, pieces in total).
            piece: features computed at a time.
        """
        config = self.network.config
        total = PER_FRAME * max(ceil(len(sound) * FRAME_RATE / MODEL_RATE), 1)
        prosody = _lengthened(prosody_channels(voice["energy"], voice["f0"]), total)
        energy = _lengthened(voice["energy"], total)[::PER_FRAME, 0]
        codes = character_codes(transcript)
        times = spread(len(codes), energy)
        listen = self.listener(sound, total)
        piece = _multiple(piece, config.grid)
        margin = _multiple(config.reach, config.grid)
        starts, found = range(0, total, piece), []
        for done, start in enumerate(starts, 1):
            stop = min(start + piece, total)
            first, last = max(start - margin, 0), min(stop + margin, total)
            near = _said_between(times, start, stop, config.text_reach)
            heard = self.network(
                listen(first, last)[None],
                prosody[None, first:last].to(self.device),
                codes[None, near].to(self.device),
                times[None, near].to(self.device) - first // PER_FRAME,
            )
            kept = slice((start - first) // PER_FRAME, (stop - first) // PER_FRAME)
            found.append(Heard(*(stream[0, kept].float().cpu() for stream in heard)))
            if on_step:
                on_step(done, len(starts))
        return Heard(*(torch.cat(parts) for parts in zip(*found, strict=True)))

    def listener(self, sound: Tensor, total: int) -> Listener:
        """What the frozen encoder hears in `sound [S]`, feature k centred at k / 50 s."""
        if isinstance(self.frozen, starter.StarterSpeech):
            mean = mel.average(mel.stream(sound))
            return partial(starter.hidden_between, self.frozen, sound, mean)
        encoder = wav2vec2.Wav2Vec2Features(self.frozen, self.device, padding=wav2vec2.CENTRED)
        features = _lengthened(encoder.features(sound), total).half()
        return lambda first, last: features[first:last].float().to(self.device)


def at_timeline(rows: Tensor, timeline: Timeline) -> Tensor:
    """Rows `[n, D]` at 25 frames/s, linearly interpolated at the timeline's frames: `[T, D]`."""
    place = (timeline.frame_centres() * FRAME_RATE - 0.5).clamp(0, len(rows) - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=len(rows) - 1)
    return rows[before].lerp(rows[after], (place - before).float()[:, None])


def _said_between(times: Tensor, start: int, stop: int, reach: int) -> slice:
    """The characters that frames of the features `start` … `stop` can attend to, and neighbours."""
    bounds = torch.tensor([start / PER_FRAME - reach, stop / PER_FRAME + reach])
    first, last = torch.searchsorted(times, bounds).tolist()
    return slice(max(first - 2, 0), last + 2)


def _lengthened(rows: Tensor, total: int) -> Tensor:
    """`[n, C]` cut, or its last row repeated, to `total` rows."""
    missing = max(total - len(rows), 0)
    return torch.cat([rows, rows[-1:].expand(missing, -1)])[:total]


def _multiple(count: int, of: int) -> int:
    """`count`, or the next larger multiple."""
    return -(-count // of) * of


def _channels(frozen: nn.Module) -> int:
    config: Any = frozen.config
    return int(getattr(config, "hidden_size", None) or config.width)


def load(
    device: str | torch.device = "cpu",
    path: str | Path | None = None,
    frozen: str | Path | None = None,
    operations: ModuleType | Any = nn,
) -> KSDiffSpeechEncoder:
    """The bundled encoder, or one with the weights at `path`.

    Args:
        device: where it computes.
        path: weights of the dual-path encoder, by default the bundled ones.
        frozen: files of the wav2vec 2.0 or HuBERT that those were trained on, see
            `wav2vec2.load`; by default the bundled starter.
        operations: namespace of the layers.

    Raises:
        PayloadError: files are absent, or the two do not fit each other.
    """
    network = checkpoints.load("ksdiff_speech", path or WEIGHTS, operations)
    listening = (
        wav2vec2.load(frozen).network
        if frozen
        else checkpoints.load("starter_speech", starter.WEIGHTS, operations)
    )
    return KSDiffSpeechEncoder(network, listening, device)
