"""espeak-ng through its shared library, because only the library reports when each phone starts."""

from __future__ import annotations

import ctypes

import numpy as np

SYNCHRONOUS, PHONEME_EVENTS, PHONEME_IPA = 2, 1, 2
CHARACTERS_UTF8, CHARACTER_POSITION = 1, 1
RATE, PITCH, PITCH_RANGE, WORD_GAP = 1, 3, 4, 7  # espeak_PARAMETER
LIST_TERMINATED, PHONEME, MESSAGE_TERMINATED = 0, 7, 6  # espeak_EVENT_TYPE


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # milliseconds
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """The engine. One per process: the library keeps global state.

    Raises:
        OSError: libespeak-ng is not installed.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.sample_rate = self.library.espeak_Initialize(
            SYNCHRONOUS, 200, None, PHONEME_EVENTS | PHONEME_IPA
        )
        self._sound: list[bytes] = []
        self._events: list[tuple[int, str]] = []
        self._keep_alive = _Callback(self._receive)
        self.library.espeak_SetSynthCallback(self._keep_alive)

    def speak(
        self, text: str, voice: str, *, rate: int = 170, pitch: int = 50, pitch_range: int = 50
    ) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
        """Sound `[S]` int16 at `sample_rate`, and `(phone in IPA, start, end)`; "" is a pause.

        Args:
            text: in the language of the voice.
            voice: language and variant, such as "de+f2".
            rate: words per minute. pitch, pitch_range: 0 … 100.
        """
        self._sound.clear()
        self._events.clear()
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            return np.zeros(0, np.int16), []
        for parameter, value in (
            (RATE, rate),
            (PITCH, pitch),
            (PITCH_RANGE, pitch_range),
            (WORD_GAP, 0),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self.library.espeak_Synth(
            data, len(data) + 1, 0, CHARACTER_POSITION, 0, CHARACTERS_UTF8, None, None
        )
        sound = np.frombuffer(b"".join(self._sound), np.int16)
        return sound, self._segments(len(sound))

    def _receive(self, sound: ctypes.Array, count: int, events: ctypes.Array) -> int:
        if sound and count > 0:
            self._sound.append(ctypes.string_at(sound, count * 2))
        index = 0
        while events[index].type != LIST_TERMINATED:
            if events[index].type == PHONEME:
                name = bytes(events[index].id.string).decode(errors="ignore")
                self._events.append((events[index].sample, name))
            index += 1
        return 0

    def _segments(self, total: int) -> list[tuple[str, float, float]]:
        """Starts of phones → segments; language switches such as "(en)" are not phones."""
        events = [(start, name) for start, name in self._events if not name.startswith("(")]
        ends = [start for start, _ in events[1:]] + [total]
        return [
            (name, start / self.sample_rate, end / self.sample_rate)
            for (start, name), end in zip(events, ends, strict=True)
            if end > start
        ]
