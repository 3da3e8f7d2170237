"""Video files: frames and the original sound, written in a stream as H.264 and AAC.

The end of stage 5. Memory does not grow with the length: frames are encoded as they come, and the
sound is read alongside, just ahead of the picture, so that the two lie interleaved in the file. The
file appears under its name when it is complete; until then it has a temporary name beside it.

Video frame i is shown from i / fps on; the sound starts at 0 and has, decoded, exactly as many
samples as went in.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor

from ..payloads import PayloadError, Timeline
from ..speech.audio import Resampler

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
AAC_FRAME = 1024  # samples in one packet
AAC_BIT_RATE = 128_000  # per channel, where AAC is taken for transparent
QUALITY = 17  # x264's constant rate factor: no loss that the eye finds
PRESET = "veryfast"  # twice as fast as "medium" for a tenth more bytes
BT709 = 1  # FFmpeg's number for the colour space of high-definition video, which players assume
LIMITED_RANGE = 1  # 16 … 235


def check_output(path: str | Path) -> Path:
    """`path` as a Path, after proof that an MP4 file can be written there.

    Raises:
        PayloadError: not .mp4, a folder, in a folder that does not exist or cannot be written to.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise PayloadError(f"The video '{path}' must have a name that ends in .mp4.")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """Raise PayloadError unless a file can be made at `path`; nothing is left there."""
    try:
        if path.is_dir():
            raise PayloadError(f"'{path}' is a folder. Give the name of a file.")
        if not path.parent.is_dir():
            raise PayloadError(f"The folder '{path.parent}' does not exist. Create it first.")
        _temporary_beside(path).unlink()
    except OSError as error:
        raise PayloadError(
            f"'{path}' cannot be written ({error.strerror}). Choose another folder."
        ) from None


def _temporary_beside(path: Path) -> Path:
    temporary = path.with_name(f".{path.stem[:32]}-{uuid4().hex[:8]}.part{path.suffix}")
    temporary.open("xb").close()
    return temporary


class VideoWriter:
    """A context manager that writes one file.

    Args:
        path: ends in .mp4; replaced when the video is complete, untouched when it fails.
        timeline: frame rate, number of frames, and the sound's rate and number of samples.
        height, width: of the frames, pixels. H.264 needs even numbers: the last row or column of an
            odd picture is repeated.
        sound: chunks `[1 or 2, S]` of the original (`Sound.chunks`, `tensor_chunks`), or None.

    Raises:
        PayloadError: the file cannot be written, or the frames given are not those of the timeline.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        timeline: Timeline,
        height: int,
        width: int,
        sound: Iterator[Tensor] | None = None,
    ) -> None:
        self.path = check_output(path)
        self.timeline = timeline
        self.size = (height, width)
        self.sound = sound
        self.frames_written = 0

    def __enter__(self) -> VideoWriter:
        import av

        self.temporary = _temporary_beside(self.path)
        self.container: Any = None
        try:
            # The index goes to the front, so that a browser can start before it has the whole file;
            # its clock counts samples, where the default of a millisecond would round the lengths.
            clock = str(_aac_rate(self.timeline.sample_rate))
            options = {"movflags": "faststart", "movie_timescale": clock}
            self.container = av.open(str(self.temporary), "w", format="mp4", options=options)
            self.picture = self._add_picture()
            self.converter = av.video.reformatter.VideoReformatter()
            self.track = (
                SoundTrack(self.container, self.sound, self.timeline) if self.sound else None
            )
        except BaseException:
            self._discard()
            raise
        return self

    def _add_picture(self) -> Any:
        height, width = self.size
        stream = self.container.add_stream("libx264", rate=self.timeline.fps)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(QUALITY), "preset": PRESET}
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = LIMITED_RANGE
        return stream

    def write(self, frames: Tensor) -> None:
        """Append frames `[b, H, W, 3]` uint8, and the sound that belongs to them."""
        if tuple(frames.shape[1:]) != (*self.size, 3) or frames.dtype != torch.uint8:
            raise PayloadError(
                f"This video takes uint8 frames of {self.size[1]}×{self.size[0]} pixels, not"
                f" {frames.dtype} of shape {tuple(frames.shape)}."
            )
        for frame in frames.cpu().numpy():
            self._write_frame(frame)

    def _write_frame(self, pixels: np.ndarray) -> None:
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if self.frames_written == self.timeline.num_frames:
            raise PayloadError(f"The video has {self.timeline.num_frames} frames; more were given.")
        height, width = self.size
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self.converter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24"),
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
        )
        frame.pts, frame.time_base = self.frames_written, 1 / self.timeline.fps
        self.container.mux(self.picture.encode(frame))
        self.frames_written += 1
        if self.track:
            self.track.write_until(self.frames_written / self.timeline.fps)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._discard()

    def _finish(self) -> None:
        if self.frames_written != self.timeline.num_frames:
            raise PayloadError(
                f"The video needs {self.timeline.num_frames} frames;"
                f" {self.frames_written} were given."
            )
        if self.track:
            self.track.finish()
        self.container.mux(self.picture.encode(None))
        self.container.close()
        self.temporary.replace(self.path)

    def _discard(self) -> None:
        """Remove an incomplete file; a complete one has its own name by now."""
        import av

        try:
            if self.container:
                self.container.close()
        except (av.error.FFmpegError, OSError):
            pass  # the file is thrown away, and what went wrong first is on its way to the user
        finally:
            self.temporary.unlink(missing_ok=True)


class SoundTrack:
    """The AAC stream of a video, encoded from the original as far as the picture has come.

    AAC codes 1024 samples at a time. A reader is told how many samples to leave out at the start
    but not at the end, so the sound is padded to a whole number of packets in front: decoded, it
    starts at 0 and ends with its last sample.
    """

    def __init__(self, container: Any, chunks: Iterator[Tensor], timeline: Timeline) -> None:
        self.container = container
        self.chunks = iter(chunks)
        first = next(self.chunks, None)
        if first is None:
            raise PayloadError(
                "The sound of this video is empty. Give one with at least one sample."
            )
        self.rate = _aac_rate(timeline.sample_rate)
        self.resampler = Resampler(timeline.sample_rate, self.rate)
        total = -(-timeline.num_samples * self.rate // timeline.sample_rate)
        self.position = -(
            -total % AAC_FRAME
        )  # of the next sample to encode, on the clock of the video
        self.layout = "mono" if first.shape[0] == 1 else "stereo"
        self.stream = container.add_stream("aac", rate=self.rate, layout=self.layout)
        self.stream.bit_rate = AAC_BIT_RATE * first.shape[0]
        silence = first.new_zeros(first.shape[0], -self.position)
        self.buffer = torch.cat([silence, self.resampler.push(first)], dim=1)

    def write_until(self, seconds: Fraction) -> None:
        """Encode whole packets up to this moment of the video, reading on as needed."""
        while self.position < seconds * self.rate:
            while self.buffer.shape[1] < AAC_FRAME:
                if not self._read():
                    return
            self._encode(AAC_FRAME)

    def finish(self) -> None:
        """Encode the rest, to the last sample."""
        while self._read():
            pass
        while self.buffer.shape[1]:
            self._encode(min(AAC_FRAME, self.buffer.shape[1]))
        self.container.mux(self.stream.encode(None))

    def _read(self) -> bool:
        chunk = next(self.chunks, None)
        ready = self.resampler.flush() if chunk is None else self.resampler.push(chunk)
        self.buffer = torch.cat([self.buffer, ready], dim=1)
        return chunk is not None

    def _encode(self, count: int) -> None:
        import av

        samples = self.buffer[:, :count].clamp(-1, 1).contiguous().numpy()
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self.layout)
        frame.sample_rate = self.rate
        frame.pts, frame.time_base = self.position, Fraction(1, self.rate)
        self.container.mux(self.stream.encode(frame))
        self.buffer = self.buffer[:, count:]
        self.position += count


def _aac_rate(sample_rate: int) -> int:
    """The rate itself where AAC knows it, otherwise the next higher one that it knows."""
    higher = [rate for rate in AAC_RATES if rate >= sample_rate]
    return min(higher, default=AAC_RATES[0])
