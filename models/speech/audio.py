"""Sound: read from any file in a stream, resampled, and made mono for the models.

Stage 1, in front of every speech encoder. The models listen to a 16 kHz mono copy; the original
goes into the video as it is. A file is decoded chunk by chunk and only the copy is kept, so that
half an hour of film sound needs no more than the four megabytes a minute of the copy.

One clock for both: the sound is the sequence of decoded samples. Samples that MP3 and AAC encoders
put in front are left out, and where the sound of a video starts later than its picture, silence
fills the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..payloads import PayloadError, Timeline

MODEL_RATE = 16000  # Hz, what every speech encoder here was trained at
SILENT_PEAK = 1e-4  # −80 dB: nothing that a 16-bit recording of a voice stays under
PLANES = 8  # PyAV reads beyond its array where a frame has as many planes as FFmpeg has pointers
CHUNK = 65536  # samples handed on at a time, 1.5 s at 44.1 kHz

# Windowed sinc: 16 zero crossings to each side leave −80 dB above the Nyquist frequency of the
# lower rate, and a passband up to 93 % of it.
ZERO_CROSSINGS = 16
PASSBAND = 0.93
KAISER_BETA = 8.0
GROUP = 64  # outputs that one matrix product makes


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound file as it was found. The samples stay in the file: `chunks` reads them again."""

    path: Path
    sample_rate: int  # Hz
    channels: int
    num_samples: int  # per channel, exact
    damaged: int = 0  # packets that could not be decoded and were left out

    def timeline(self, fps: Any) -> Timeline:
        """The clock of a video to this sound."""
        return Timeline.for_sound(self.num_samples, self.sample_rate, fps)

    def chunks(self) -> Iterator[Tensor]:
        """The original samples, `[1 or 2, S]` float32; more channels are mixed down to stereo."""
        for chunk in _decode(self.path, []):
            yield chunk.samples


@dataclass(frozen=True, kw_only=True)
class _Chunk:
    samples: Tensor  # [1 or 2, S] float32
    sample_rate: int
    channels: int  # in the file


def read_sound(
    path: str | Path, *, on_step: Callable[[int, int], None] | None = None
) -> tuple[Sound, Tensor]:
    """Listen to a file once: what it is, and its 16 kHz mono copy `[1, S]` float32.

    Args:
        path: any file with sound in it, a video too.
        on_step: called with (seconds read, seconds expected).

    Raises:
        PayloadError: no file, no sound in it, empty, silent, NaN, or a changing rate.
    """
    path = Path(path)
    damaged: list[int] = []
    first: _Chunk | None = None
    count, peak, seconds, expected = 0, 0.0, 0, 0
    for chunk in _decode(path, damaged):
        if first is None:
            first, expected = chunk, _expected_seconds(path)
            resampler = Resampler(chunk.sample_rate, MODEL_RATE)
            copy = _Tape((expected + 1) * MODEL_RATE)
        broken = ~torch.isfinite(chunk.samples).all(0)
        if broken.any():
            moment = (count + int(broken.int().argmax())) / chunk.sample_rate
            raise PayloadError(
                f"The sound of '{path.name}' holds NaN or infinite samples from {moment:.2f} s on."
                " Export it again, for example as 16-bit WAV."
            )
        count += chunk.samples.shape[1]
        peak = max(peak, float(chunk.samples.abs().amax()))
        copy.append(resampler.push(chunk.samples.mean(0, keepdim=True)))
        seconds = ceil(count / chunk.sample_rate)
        if on_step:
            on_step(seconds, max(seconds, expected))
    if first is None:
        raise PayloadError(
            f"The sound of '{path.name}' is empty. Give one with at least one sample."
        )
    if peak < SILENT_PEAK:
        raise PayloadError(
            f"The sound of '{path.name}' is silent from start to end."
            " Give one in which somebody speaks."
        )
    if on_step:
        on_step(seconds, seconds)
    sound = Sound(
        path=path,
        sample_rate=first.sample_rate,
        channels=first.channels,
        num_samples=count,
        damaged=len(damaged),
    )
    copy.append(resampler.flush())
    return sound, copy.recorded()


class _Tape:
    """Mono samples that come in pieces, in one tensor; only what is recorded takes memory."""

    def __init__(self, expected: int) -> None:
        self.samples = torch.empty(1, expected)
        self.count = 0

    def append(self, piece: Tensor) -> None:
        needed = self.count + piece.shape[1]
        if needed > self.samples.shape[1]:
            self.samples = torch.cat([self.recorded(), self.samples.new_empty(1, needed)], 1)
        self.samples[:, self.count : needed] = piece
        self.count = needed

    def recorded(self) -> Tensor:
        return self.samples[:, : self.count]


def mono16k(waveform: Tensor, sample_rate: int) -> Tensor:
    """The 16 kHz mono copy `[1, S]` of a waveform `[C, S]`; it may be silent.

    A waveform that is 16 kHz mono already is given back as it is.

    Raises:
        PayloadError: not `[C, S]`, empty, NaN or infinite, or no sample rate.
    """
    if waveform.ndim != 2 or waveform.numel() == 0:
        shape = " × ".join(map(str, waveform.shape))
        raise PayloadError(
            f"A sound of shape {shape} is empty or not channels × samples."
            " Give at least one sample."
        )
    waveform = waveform.detach().cpu().float()
    if not all(torch.isfinite(extreme) for extreme in waveform.aminmax()):  # NaN is extreme
        raise PayloadError("The sound holds NaN or infinite samples. Look for them upstream.")
    mono = waveform if waveform.shape[0] == 1 else waveform.mean(0, keepdim=True)
    return resample(mono, sample_rate, MODEL_RATE)


def tensor_chunks(waveform: Tensor) -> Iterator[Tensor]:
    """A waveform `[C, S]` in pieces `[1 or 2, S]` as `Sound.chunks` gives them."""
    for piece in waveform.detach().split(CHUNK, dim=1):
        yield _mix_down(piece.cpu().float(), ())


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """`waveform` `[C, S]` at another rate: `[C, ceil(S · to_rate / from_rate)]` float32."""
    resampler = Resampler(from_rate, to_rate)
    if resampler.identical:
        return waveform
    pieces = [resampler.push(piece.float()) for piece in waveform.split(CHUNK, dim=1)]
    return torch.cat([*pieces, resampler.flush()], dim=1)


class Resampler:
    """Band-limited resampling of a stream: what comes out does not depend on how the input was cut.

    Polyphase windowed sinc (Smith, "Digital Audio Resampling", 2002) with a Kaiser window. The
    ratio of the rates repeats after `period_in` input and `period_out` output samples; within a
    period the outputs are made in groups, each by one product of its input window with a small
    matrix, so that odd ratios stay cheap too.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        if from_rate < 1 or to_rate < 1:
            raise PayloadError(f"Sound cannot be resampled from {from_rate} Hz to {to_rate} Hz.")
        self.identical = from_rate == to_rate
        divisor = gcd(from_rate, to_rate)
        repeats = ceil(GROUP * divisor / to_rate)
        self.period_in = repeats * from_rate // divisor
        self.period_out = repeats * to_rate // divisor
        self.reach = ceil(ZERO_CROSSINGS * max(1.0, from_rate / to_rate) / PASSBAND)
        self.groups = [] if self.identical else self._groups(from_rate, to_rate)
        self.span = self.period_in + 2 * self.reach + 1
        self.rates = (from_rate, to_rate)
        self.received = 0
        self.given = 0
        self.buffer = torch.zeros(0, self.reach)

    def _groups(self, from_rate: int, to_rate: int) -> list[tuple[int, Tensor]]:
        """Per group of outputs: where its input window starts, and its `[window, outputs]`."""
        groups = []
        cutoff = PASSBAND * min(1.0, to_rate / from_rate)  # in units of the input's Nyquist rate
        for start in range(0, self.period_out, GROUP):
            outputs = torch.arange(start, min(start + GROUP, self.period_out), dtype=torch.float64)
            centres = outputs * from_rate / to_rate
            first, last = int(centres[0]), int(centres[-1])
            inputs = torch.arange(first - self.reach, last + self.reach + 2, dtype=torch.float64)
            distance = inputs[:, None] - centres[None]
            window = (1 - (distance / (self.reach + 1)).square()).clamp_min(0).sqrt()
            kaiser = torch.special.i0(KAISER_BETA * window) * (window > 0)
            kernel = cutoff * torch.sinc(cutoff * distance) * kaiser
            groups.append((first, (kernel / kernel.sum(0)).float()))
        return groups

    def push(self, chunk: Tensor) -> Tensor:
        """What the next `chunk` `[C, S]` makes ready, `[C, S']`."""
        if self.identical:
            self.buffer = chunk[:, :0]
            return chunk
        if self.received == 0:
            self.buffer = chunk.new_zeros(chunk.shape[0], self.reach)
        self.received += chunk.shape[1]
        self.buffer = torch.cat([self.buffer, chunk], dim=1)
        periods = max(0, (self.buffer.shape[1] - self.span) // self.period_in + 1)
        ready = self._convert(periods)
        self.buffer = self.buffer[:, periods * self.period_in :].clone()
        self.given += ready.shape[1]
        return ready

    def flush(self) -> Tensor:
        """The rest, as if silence followed; after it, the next sound may begin."""
        if self.received == 0:
            return self.buffer[:, :0]
        left = ceil(self.received * self.rates[1] / self.rates[0]) - self.given
        padding = self.buffer.new_zeros(self.buffer.shape[0], self.span + self.period_in)
        rest = self.push(torch.cat([padding] * (1 + left // self.period_out), dim=1))[:, :left]
        self.received = self.given = 0
        return rest

    def _convert(self, periods: int) -> Tensor:
        channels = self.buffer.shape[0]
        if periods == 0:
            return self.buffer.new_zeros(channels, 0)
        windows = self.buffer.unfold(1, self.span, self.period_in)[:, :periods]
        made = [windows[:, :, at : at + len(matrix)] @ matrix for at, matrix in self.groups]
        return torch.cat(made, dim=2).reshape(channels, -1)


def _decode(path: Path, damaged: list[int]) -> Iterator[_Chunk]:
    """The samples of a file in chunks of at least `CHUNK`, except the last.

    `damaged` collects the times of packets that cannot be decoded.
    """
    pieces: list[Tensor] = []
    first = None
    for frame, lead in _frames(path, damaged):
        found = (frame.sample_rate, len(frame.layout.channels))
        first = first or found
        if found != first:
            raise PayloadError(
                f"The sound of '{path.name}' changes on the way from {first[0]} Hz, {first[1]}"
                f" channels to {found[0]} Hz, {found[1]} channels. Convert it to WAV first."
            )
        samples = _mix_down(_as_float(frame), [channel.name for channel in frame.layout.channels])
        pieces += [samples.new_zeros(samples.shape[0], lead), samples]
        if sum(piece.shape[1] for piece in pieces) >= CHUNK:
            yield _Chunk(samples=torch.cat(pieces, 1), sample_rate=first[0], channels=first[1])
            pieces = []
    if first and pieces:
        yield _Chunk(samples=torch.cat(pieces, 1), sample_rate=first[0], channels=first[1])


def _frames(path: Path, damaged: list[int]) -> Iterator[tuple[Any, int]]:
    """Decoded audio frames, each with the number of silent samples that belong in front of it."""
    import av

    if not path.is_file():
        raise PayloadError(f"There is no sound file '{path}'.")
    started = False
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise PayloadError(
                    f"'{path.name}' has no sound. Give a sound or a video with sound."
                )
            stream = container.streams.audio[0]
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    damaged.append(int(packet.pts or 0))
                    continue
                for frame in frames:
                    yield frame, 0 if started else _samples_after_picture(container, frame)
                    started = True
    except av.error.FFmpegError as error:
        raise PayloadError(
            f"'{path.name}' cannot be read as sound ({error.strerror})."
            " Give WAV, MP3, FLAC, or a video with sound."
        ) from None
    if damaged and not started:
        raise PayloadError(f"The sound of '{path.name}' is damaged: nothing of it can be decoded.")


def _samples_after_picture(container: Any, frame: Any) -> int:
    """How much later than the first picture of a video its sound starts, in samples."""
    from av.stream import Disposition

    pictures = [
        stream
        for stream in container.streams.video
        if stream.start_time is not None and not stream.disposition & Disposition.attached_pic
    ]
    if not pictures or frame.time is None:
        return 0
    picture = float(pictures[0].start_time * pictures[0].time_base)
    return max(0, round((frame.time - picture) * frame.sample_rate))


def _expected_seconds(path: Path) -> int:
    import av

    with av.open(str(path)) as container:
        return ceil((container.duration or 0) / av.time_base)


def _as_float(frame: Any) -> Tensor:
    """Samples of a decoded frame, `[C, S]` float32, ±1."""
    import av

    channels = len(frame.layout.channels)
    if frame.format.is_planar and channels >= PLANES:
        frame = av.AudioResampler(format="flt").resample(frame)[0]
    values = torch.from_numpy(frame.to_ndarray())
    if not frame.format.is_planar:
        values = values.reshape(-1, channels).T
    if values.dtype == torch.uint8:
        return (values.float() - 128) / 128
    if not values.is_floating_point():
        return values.float() / -float(torch.iinfo(values.dtype).min)
    return values.float()


def _mix_down(samples: Tensor, names: Sequence[str]) -> Tensor:
    """`[C, S]` as mono or stereo.

    `names` are FFmpeg's ("FL", "FC", "LFE", …): what is not on one side counts for both, and the
    low-frequency channel, an effect and no voice, for none. Without names every channel counts.
    """
    channels = samples.shape[0]
    if channels <= 2:
        return samples
    named = names if len(names) == channels else [""] * channels
    sides = [
        [0.0 if name == "LFE" or other in name else 1.0 for name in named] for other in ("R", "L")
    ]
    matrix = torch.tensor(sides)
    return (matrix / matrix.sum(1, keepdim=True).clamp_min(1)) @ samples
