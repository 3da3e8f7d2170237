"""What KSDiff trains on: minutes of speech as a frozen encoder hears them, and how a face moves.

Lips follow the phones of synthesised speech (`visemes.py`), head, brows, lids and gaze are drawn
from the distribution of `models/motion/gestures.py`. All of it is computed once and kept on disk,
so that training is nothing but training:

    python -m soliloquy.training.starter synthesise CORPUS --hours 10
    python -m soliloquy.training.ksdiff_data CORPUS FOLDER --hours 6   # 20 minutes

A folder of clips of real people, which `python -m soliloquy prepare` wrote, will do as a corpus,
too; then the lips and heads are theirs.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.motion.arkit import ARKIT52, INDEX
from ..models.motion.gaze import hold_gaze
from ..models.motion.gestures import gestures
from ..models.motion.kdtalker_motion import resample
from ..models.payloads import Speech, Timeline
from ..models.speech import mel, starter
from ..models.speech.dual_path import prosody_channels
from ..models.speech.prosody import prosody_streams
from ..models.speech.transcript import character_codes
from . import augment
from .prepare import Clip, is_clip, read_clip
from .speech_data import Crop, averages, crop, disguise, emphasise, read_corpus
from .synthesis import SAMPLE_RATE, Utterance
from .visemes import LIP_CHANNELS, lip_weights

FRAME_RATE = 25
FRAMES = 512  # of a session, 20.48 s
DRAWS = 3  # of how the head moves to the same sound
SESSIONS_IN_FILE = 16
CHANNELS = len(ARKIT52) + 7  # weights, rotation, translation, log scale
LIPS = [INDEX[name] for name in LIP_CHANNELS]
HELD_OUT = ("flite_awb", "festival_voice_czech_machac", "festival_voice_upc_ca_ona_hts")
"""Speakers of whom nothing is trained on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sessions:
    """`N` pieces of 20 s: features at 50 Hz, everything else at 25 frames/s. Numpy arrays."""

    features: np.ndarray  # [N, 2T, 192] float16
    prosody: np.ndarray  # [N, 2T, 2] float16
    motion: np.ndarray  # [N, DRAWS, T, 59] float16
    text: np.ndarray  # [N, L] uint8 characters, 0 pads
    times: np.ndarray  # [N, L] float32, the frame in which each character is said
    frames: np.ndarray  # [N] int, how many frames of each are real; clips may be shorter

    def __len__(self) -> int:
        return len(self.features)


def write_sessions(
    corpus: dict[str, list[Utterance]], folder: Path, files: range, seed: int = 0
) -> None:
    """Compute the files with these numbers, of 16 sessions each; those that exist are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = starter.load()
    names = list(corpus)
    shares = [len(corpus[name]) ** 0.5 for name in names]
    for number in files:
        path = folder / f"{number:04d}.npz"
        if path.exists():
            continue
        source = random.Random(seed * 100003 + number)
        torch.manual_seed(seed * 100003 + number)
        drawn = source.choices(names, shares, k=SESSIONS_IN_FILE)
        pieces = [crop(corpus[name], source, False, 2 * FRAMES) for name in drawn]
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, **sessions_of(pieces, encoder.network, source))  # type: ignore[arg-type]
        unfinished.rename(path)
        print(path.name, flush=True)


@torch.no_grad()
def sessions_of(
    pieces: list[Crop], network: starter.StarterSpeech, source: random.Random
) -> dict[str, np.ndarray]:
    """The arrays of `Sessions` for some crops: noise and rooms are heard, but not moved to."""
    clean, track = emphasise(
        torch.stack([piece.sound for piece in pieces]),
        torch.stack([piece.track for piece in pieces]),
    )
    heard = augment.add_noise(augment.reverberate(clean))
    hidden = network.hidden(disguise(heard, 4 * FRAMES))
    prosody = torch.stack([prosody_of(sound) for sound in heard])
    lips = lip_weights(track[:, 1::2].numpy())  # frame centres are the odd moments of 50 Hz
    motion = torch.stack(
        [
            moves(sound, torch.from_numpy(mouth), source)
            for sound, mouth in zip(clean, lips, strict=True)
        ]
    )
    written = [text_of(piece) for piece in pieces]
    longest = max(len(codes) for codes, _ in written)
    return {
        "features": hidden.half().numpy(),
        "prosody": prosody.half().numpy(),
        "motion": motion.half().numpy(),
        "text": np.stack([np.pad(codes, (0, longest - len(codes))) for codes, _ in written]),
        "times": np.stack([np.pad(times, (0, longest - len(times))) for _, times in written]),
    }


def prosody_of(sound: Tensor) -> Tensor:
    """The two prosody channels at 50 Hz, `[2T, 2]`, as the encoder computes them."""
    timeline = Timeline.for_sound(len(sound), SAMPLE_RATE, 2 * FRAME_RATE)
    streams = prosody_streams(sound[None], SAMPLE_RATE, timeline)
    return prosody_channels(streams["energy"], streams["f0"])


def moves(sound: Tensor, lips: Tensor, source: random.Random) -> Tensor:
    """`DRAWS` faces that say the same: `[DRAWS, T, 59]`."""
    timeline = Timeline.for_sound(len(sound), SAMPLE_RATE, FRAME_RATE)
    speech = Speech(streams=prosody_streams(sound[None], SAMPLE_RATE, timeline), timeline=timeline)
    drawn = []
    for _ in range(DRAWS):
        around = gestures(speech, source.randrange(2**31))
        weights = around.weights.clone()
        weights[:, LIPS] += lips
        weights = hold_gaze(weights, -around.rotation)  # the paths do not know of each other
        pose = [around.rotation, around.translation, around.scale.log()[:, None]]
        drawn.append(torch.cat([weights.clamp(0, 1), *pose], -1))
    return torch.stack(drawn)


def text_of(piece: Crop) -> tuple[np.ndarray, np.ndarray]:
    """Characters `[L]` said within a crop, evenly spread over their sentences, and their frames."""
    codes, times = [np.zeros(0, np.uint8)], [np.zeros(0, np.float32)]
    for text, begin, end in piece.sentences:
        characters = character_codes(f"{text} |").numpy()[:-1] if text else np.zeros(0, np.int64)
        places = (np.arange(len(characters)) + 0.5) / max(len(characters), 1)
        frames = (begin + places * (end - begin)) * FRAME_RATE
        inside = (frames >= 0) & (frames < piece.sound.shape[0] / SAMPLE_RATE * FRAME_RATE)
        codes.append(characters[inside].astype(np.uint8))
        times.append(frames[inside].astype(np.float32))
    return np.concatenate(codes), np.concatenate(times)


def read_sessions(folder: Path) -> Sessions:
    """All sessions of a folder, in memory: 0.4 MB a session.

    Raises:
        FileNotFoundError: nothing was prepared there.
    """
    paths = sorted(path for path in folder.glob("*.npz") if ".part" not in path.name)
    if not paths:
        raise FileNotFoundError(
            f"There are no sessions in '{folder}'. Write them with"
            " `python -m soliloquy.training.ksdiff_data CORPUS FOLDER`."
        )
    files = [dict(np.load(path)) for path in paths]
    longest = max(file["text"].shape[1] for file in files)
    for file in files:
        file.setdefault("frames", np.full(len(file["text"]), FRAMES))
        for name in ("text", "times"):
            missing = longest - file[name].shape[1]
            file[name] = np.pad(file[name], ((0, 0), (0, missing)))
    return Sessions(**{name: np.concatenate([f[name] for f in files]) for name in files[0]})


@torch.no_grad()
def write_recorded(clips: list[Path], folder: Path) -> None:
    """Sessions out of prepared clips of real people, a file for each clip.

    What they do is written `DRAWS` times, so that these files go together with synthesised ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = starter.load().network
    for path in clips:
        clip = read_clip(path)
        sound = torch.from_numpy(clip.sound).float() / 32768
        motion = recorded_motion(clip)
        length = FRAMES * SAMPLE_RATE // FRAME_RATE
        rows: dict[str, list[Tensor]] = {"features": [], "prosody": [], "motion": []}
        frames = []
        for index, piece in enumerate(motion.split(FRAMES)):
            heard = sound[index * length : (index + 1) * length]
            heard = F.pad(heard, (0, length - len(heard)))
            spectrum = mel.log_mel(heard[None])[:, : 4 * FRAMES]
            rows["features"].append(network.hidden(mel.normalise(spectrum, averages(spectrum)))[0])
            rows["prosody"].append(prosody_of(heard))
            rows["motion"].append(
                F.pad(piece, (0, 0, 0, FRAMES - len(piece))).expand(DRAWS, -1, -1)
            )
            frames.append(len(piece))
        arrays = {name: torch.stack(values).half().numpy() for name, values in rows.items()}
        unread = {"text": np.zeros((len(frames), 1), np.uint8)}
        unread["times"] = np.zeros((len(frames), 1), np.float32)
        np.savez(folder / path.name, **arrays, **unread, frames=np.array(frames))  # type: ignore[arg-type]


def recorded_motion(clip: Clip) -> Tensor:
    """The 59 coefficients of a clip at 25 frames/s, `[T, 59]`, without the eyes' turning back."""
    rotation = torch.from_numpy(clip.rotation)
    curves = torch.cat(
        [
            hold_gaze(torch.from_numpy(clip.weights).float(), rotation[:1] - rotation),
            rotation - rotation[:1],
            torch.from_numpy(clip.translation),
            torch.from_numpy(clip.scale).log()[:, None],
        ],
        dim=1,
    )
    seconds = min(len(curves) / clip.fps, Fraction(len(clip.sound), SAMPLE_RATE))
    return resample(curves, clip.fps, Fraction(FRAME_RATE), int(seconds * FRAME_RATE))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.ksdiff_data", description=__doc__
    )
    parser.add_argument("corpus", type=Path, help="where the synthesised speech lies")
    parser.add_argument("folder", type=Path, help="gets the folders `train` and `held_out`")
    parser.add_argument("--hours", type=float, default=6.0, help="of speech to train on")
    given = parser.parse_args(arguments)
    clips = [path for path in sorted(given.corpus.glob("*.npz")) if is_clip(path)]
    if clips:
        write_recorded(clips, given.folder / "train")
        return
    corpus = read_corpus(given.corpus)
    hours_in_file = SESSIONS_IN_FILE * FRAMES / FRAME_RATE / 3600
    held_out = {name: clips for name, clips in corpus.items() if name in HELD_OUT}
    others = {name: clips for name, clips in corpus.items() if name not in HELD_OUT}
    write_sessions(held_out, given.folder / "held_out", range(4), seed=1)
    write_sessions(others, given.folder / "train", range(round(given.hours / hours_in_file)))


if __name__ == "__main__":
    main()
