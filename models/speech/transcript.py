"""What is said, as characters with a rough place in time: the optional transcript of a sound.

Stage 1. No aligner is needed: characters are spread over the loud moments of the sound, in order,
and the dual-path speech encoder looks for each frame among the characters around it.
"""

from __future__ import annotations

import unicodedata

import torch
from torch import Tensor

CODES = 128  # of the network's alphabet; 0 is padding
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 '.,;:?!-"
_OTHERS = len(_LETTERS) + 1  # the first code shared by the characters of other scripts


def character_codes(text: str) -> Tensor:
    """The transcript in the network's alphabet.

    Latin letters lose case and accents; characters of other scripts share the codes above theirs.

    Returns:
        `[L]` int64, 1 … 127; empty for a transcript without characters.
    """
    plain = unicodedata.normalize("NFKD", " ".join(text.lower().split()))
    kept = [sign for sign in plain if not unicodedata.combining(sign)]
    return torch.tensor([_code(sign) for sign in kept], dtype=torch.int64)


def spread(count: int, energy: Tensor) -> Tensor:
    """When each character is said, if all were said at one pace and only while there is a voice.

    Args:
        count: of the characters.
        energy: `[N]` float, 0 … 1, loudness on the clock that is wanted.

    Returns:
        `[count]` float32, positions on that clock, ascending.
    """
    said = (energy.double().clamp(min=0) + 1e-3).cumsum(0)
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / max(count, 1)
    return torch.searchsorted(said, shares * said[-1]).clamp(max=len(energy) - 1).float()


def _code(sign: str) -> int:
    place = _LETTERS.find(sign)
    return place + 1 if place >= 0 else _OTHERS + ord(sign) % (CODES - _OTHERS)
