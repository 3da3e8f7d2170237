"""Speech as MoDiTalker hears it: HuBERT large, two features of 20 ms for every frame at 25 fps.

Stage 1, for AToM (Kim et al. 2024; features of Hsu et al. 2021, fine-tuned on 960 hours of
LibriSpeech). The stream "hubert" has two features beside each other in each row, so that at 25 fps
a row is exactly what the published program gives a frame; at other rates each row has two features
of its own quarter and three quarters.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from .. import checkpoints
from ..payloads import PayloadError, Speech, Timeline
from .audio import mono16k
from .prosody import prosody_streams
from .wav2vec2 import EVEN, RATE, Wav2Vec2Features
from .wav2vec2 import load as load_features

STREAM = "hubert"
FEATURES = 2  # per frame
MODES = ("default", "reference")


class HubertSpeechEncoder:
    """Sound → the streams "hubert" `[T, 2 · 1024]`, "energy" and "f0" `[T, 1]`."""

    def __init__(self, listener: Wav2Vec2Features, mode: str = "default") -> None:
        """An encoder.

        Args:
            listener: HuBERT.
            mode: "default" hears long sounds in pieces that fade into each other; "reference" in
                blocks of 1000 features without overlap, as published.

        Raises:
            PayloadError: there is no such mode.
        """
        if mode not in MODES:
            raise PayloadError(f"HuBERT has the modes {', '.join(MODES)}, not '{mode}'.")
        self.network = listener.network  # where the host looks for what it may move
        self.listener, self.mode = listener, mode

    @property
    def device(self) -> torch.device:
        """Where it computes; the host sets it when it has moved the network."""
        return self.listener.device

    @device.setter
    def device(self, device: str | torch.device) -> None:
        self.listener.device = torch.device(device)

    def encode(
        self,
        waveform: Tensor,
        sample_rate: int,
        timeline: Timeline,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Speech:
        """Listen.

        Args:
            waveform: `[C, S]` float, −1 … 1; channels are averaged.
            sample_rate: of the waveform, Hz.
            timeline: the frames to speak about.
            on_step: called with (pieces done, pieces in total).

        Raises:
            PayloadError: the waveform is empty or not finite.
        """
        sound = mono16k(waveform, sample_rate)[0]
        if self.mode == "reference":
            features = self.listener.features_in_blocks(sound, on_step)
        else:
            features = self.listener.features(sound, on_step)
        streams = {STREAM: at_frames(features, timeline)}
        prosody = prosody_streams(waveform, sample_rate, timeline)
        return Speech(streams=streams | prosody, timeline=timeline)


def at_frames(features: Tensor, timeline: Timeline) -> Tensor:
    """Features `[K, D]` at 50 Hz, two for each frame: `[T, 2 · D]`; the last one is held.

    Linear between features where the frame rate is not 25.
    """
    if len(features) == 0:  # less sound than one feature hears
        features = features.new_zeros(1, features.shape[1])
    moments = torch.arange(FEATURES * timeline.num_frames, dtype=torch.float64) + 0.5
    places = moments * float(RATE / (FEATURES * timeline.fps)) - 0.5
    places = places.clamp(0, len(features) - 1)
    before = places.floor().long()
    after = (before + 1).clamp(max=len(features) - 1)
    share = (places - before).float()[:, None]
    found = torch.lerp(features[before], features[after], share)
    return found.reshape(timeline.num_frames, -1)


def load(
    device: str | torch.device = "cpu", path: str | Path | None = None, *, mode: str = "default"
) -> HubertSpeechEncoder:
    """HuBERT with the weights at `path`: one file, or a folder as transformers saves it.

    Raises:
        PayloadError: no path, transformers is absent, or the file is of another network.
    """
    if path is None:
        raise checkpoints.CheckpointError(
            "HuBERT needs its weights: give the path of 'hubert-large-ls960-ft/pytorch_model.bin',"
            " or of a folder with config.json and model.safetensors."
        )
    padding = 0 if mode == "reference" else EVEN
    return HubertSpeechEncoder(load_features(path, device, padding=padding), mode)
