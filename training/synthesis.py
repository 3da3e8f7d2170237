"""Speech with known phone times from espeak-ng, flite and festival, and its cache on disk.

`python -m soliloquy.training.starter synthesise FOLDER` fills the cache; nothing of it belongs into
the repository.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .espeak import Espeak
from .phones import Segment, to_ipa
from .sentences import sentence
from .voices import FESTIVAL, FLITE, Voice, espeak_voice

SAMPLE_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One spoken sentence: `sound [S]` int16 at 16 kHz and its phones."""

    sound: np.ndarray
    segments: list[Segment]
    voice: str
    text: str = ""  # what was asked for; empty in caches that were made before texts were kept

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.sound) / SAMPLE_RATE


def synthesise(folder: Path, *, hours: float, seed: int = 0) -> None:
    """Fill `folder` with `hours` of speech: one half recorded speakers, one half espeak-ng."""
    folder.mkdir(parents=True, exist_ok=True)
    recorded = FLITE + FESTIVAL
    seconds = hours * 3600
    for index, voice in enumerate(recorded):
        share = 0.5 * seconds / len(recorded)
        share *= 2 if voice.language == "en" else 0.75
        save(
            folder / f"{voice.engine}_{voice.name}.npz", _speak_recorded(voice, share, seed + index)
        )
    parts = 8
    for part in range(parts):
        spoken = _speak_espeak(0.5 * seconds / parts, seed + 1000 + part)
        save(folder / f"espeak_{part}.npz", spoken)


def save(path: Path, utterances: list[Utterance]) -> None:
    """Write utterances as one npz: sounds end to end, everything else as JSON."""
    entries = [
        {"voice": u.voice, "samples": len(u.sound), "segments": u.segments, "text": u.text}
        for u in utterances
    ]
    sound = np.concatenate([u.sound for u in utterances]) if utterances else np.zeros(0, np.int16)
    np.savez(path, sound=sound, entries=json.dumps(entries))
    print(f"{path.name}: {len(utterances)} utterances, {len(sound) / SAMPLE_RATE / 60:.1f} minutes")


def load(path: Path) -> list[Utterance]:
    """What `save` wrote."""
    file = np.load(path)
    sound, utterances, start = file["sound"], [], 0
    for entry in json.loads(str(file["entries"])):
        end = start + entry["samples"]
        segments = [Segment(*segment) for segment in entry["segments"]]
        utterances.append(
            Utterance(
                sound=sound[start:end],
                segments=segments,
                voice=entry["voice"],
                text=entry.get("text", ""),
            )
        )
        start = end
    return utterances


def _speak_espeak(seconds: float, seed: int) -> list[Utterance]:
    engine, source, spoken = Espeak(), random.Random(seed), []
    while seconds > 0:
        voice = espeak_voice(source)
        text = sentence(voice.language, source)
        sound, phones = engine.speak(
            text,
            voice.name,
            rate=source.randint(120, 260),
            pitch=source.randint(15, 85),
            pitch_range=source.randint(20, 90),
        )
        if len(phones) > 3:
            spoken.append(_utterance(sound, engine.sample_rate, phones, voice, text))
            seconds -= spoken[-1].seconds
    return spoken


def _speak_recorded(voice: Voice, seconds: float, seed: int) -> list[Utterance]:
    speak = {"flite": _speak_flite, "festival": _speak_festival}[voice.engine]
    source, spoken = random.Random(seed), []
    batch = 40
    while seconds > 0:
        texts = [sentence(voice.language, source).replace('"', "") for _ in range(batch)]
        rates = [source.uniform(0.75, 1.3) for _ in texts]
        with tempfile.TemporaryDirectory() as folder:
            found = speak(voice, texts, rates, Path(folder))
        if not found:
            print(f"{voice.name} spoke nothing; is the package {voice.package} installed?")
            break
        spoken += found
        seconds -= sum(utterance.seconds for utterance in found)
    return spoken


def _speak_flite(
    voice: Voice, texts: list[str], rates: list[float], folder: Path
) -> list[Utterance]:
    def one(number: int) -> Utterance:
        path = folder / f"{number}.wav"
        command = ["flite", "-voice", voice.name, "-psdur", "-t", texts[number], "-o", str(path)]
        command += ["--setf", f"duration_stretch={rates[number]:.2f}"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        ends = [(name, float(end)) for name, end in (item.rsplit(":", 1) for item in lines.split())]
        return _utterance(*_read_wave(path), _from_ends(ends), voice, texts[number])

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, range(len(texts))))


def _speak_festival(
    voice: Voice, texts: list[str], rates: list[float], folder: Path
) -> list[Utterance]:
    script = [f"({voice.name})"]
    for number, (text, rate) in enumerate(zip(texts, rates, strict=True)):
        script += [
            f"(Parameter.set 'Duration_Stretch {rate:.2f})",
            f'(set! u (utt.synth (Utterance Text "{text}")))',
            f'(utt.save.segs u "{folder}/{number}.segs")',
            f'(utt.save.wave u "{folder}/{number}.wav" \'riff)',
        ]
    path = folder / "script.scm"
    path.write_bytes("\n".join(script).encode(voice.encoding, errors="ignore"))
    subprocess.run(["festival", "-b", str(path)], capture_output=True, check=False)
    spoken = []
    for number in range(len(texts)):
        segments, wave = folder / f"{number}.segs", folder / f"{number}.wav"
        if segments.exists() and wave.exists():
            rows = [line.split() for line in segments.read_text("latin-1").splitlines()]
            ends = [(row[2], float(row[0])) for row in rows if len(row) == 3]
            found = _utterance(*_read_wave(wave), _from_ends(ends), voice, texts[number])
            spoken.append(found)
    return spoken


def _from_ends(ends: list[tuple[str, float]]) -> list[tuple[str, float, float]]:
    starts = [0.0] + [end for _, end in ends[:-1]]
    return [(name, start, end) for start, (name, end) in zip(starts, ends, strict=True)]


def _utterance(
    sound: np.ndarray,
    rate: int,
    phones: list[tuple[str, float, float]],
    voice: Voice,
    text: str,
) -> Utterance:
    segments = [
        part for name, start, end in phones for part in to_ipa(name, start, end, voice.phones)
    ]
    return Utterance(
        sound=_resample(sound, rate),
        segments=segments,
        voice=f"{voice.engine}/{voice.name}",
        text=text,
    )


def _read_wave(path: Path) -> tuple[np.ndarray, int]:
    from scipy.io import wavfile

    rate, sound = wavfile.read(path)
    return sound, rate


def _resample(sound: np.ndarray, rate: int) -> np.ndarray:
    from math import gcd

    from scipy.signal import resample_poly

    if rate == SAMPLE_RATE:
        return sound
    divisor = gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(sound.astype(np.float32), SAMPLE_RATE // divisor, rate // divisor)
    return np.clip(resampled, -32768, 32767).astype(np.int16)
