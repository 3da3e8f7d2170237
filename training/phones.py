"""Phones: how each synthesiser spells them, and what the lips do for each.

Everything is brought to IPA first. The lip columns are phonetic knowledge written as numbers: open
vowels are wider than close ones, rounding narrows, sibilants keep the teeth together, and sounds
made behind the teeth leave the lips to their neighbours (low dominance). Compare Jackson 1988,
Fromkin 1964, and Cohen and Massaro 1993 for the model they feed.
"""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import normalize


class Segment(NamedTuple):
    """One phone in time: IPA symbol ("" is silence), start and end in seconds."""

    phone: str
    start: float
    end: float


class Lips(NamedTuple):
    """What the lips want for a phone."""

    aperture: float  # opening between the inner lips, 0 closed … 1 as wide as speech goes
    width: float  # -1 rounded … 0 … +1 spread
    aperture_dominance: float  # how strongly the phone insists, 0 … 1
    width_dominance: float
    contact: str = (
        ""  # "lips" (p b m close fully) or "teeth" (f v: lower lip under the upper teeth)
    )


SILENCE = Lips(0.0, 0.0, 1.0, 0.5)

LIPS = {
    "": SILENCE,
    # vowels, open to close
    "a": Lips(1.00, 0.35, 1.0, 0.6), "ɑ": Lips(1.00, 0.15, 1.0, 0.6),
    "æ": Lips(0.95, 0.75, 1.0, 0.8), "ɐ": Lips(0.85, 0.25, 0.9, 0.5),
    "ʌ": Lips(0.75, 0.15, 0.9, 0.5), "ɒ": Lips(0.80, -0.30, 1.0, 0.8),
    "ɔ": Lips(0.70, -0.40, 1.0, 0.9), "ɛ": Lips(0.72, 0.60, 1.0, 0.8),
    "œ": Lips(0.60, -0.40, 1.0, 0.9), "ɜ": Lips(0.50, -0.15, 0.9, 0.6),
    "ə": Lips(0.45, 0.05, 0.6, 0.3), "ɘ": Lips(0.45, 0.10, 0.6, 0.3),
    "ɤ": Lips(0.50, 0.10, 0.9, 0.6), "e": Lips(0.55, 0.65, 1.0, 0.9),
    "ø": Lips(0.45, -0.65, 1.0, 1.0), "o": Lips(0.50, -0.70, 1.0, 1.0),
    "ɵ": Lips(0.40, -0.50, 0.8, 0.8), "ɪ": Lips(0.45, 0.60, 0.9, 0.8),
    "ʏ": Lips(0.32, -0.70, 0.9, 0.9), "ʊ": Lips(0.35, -0.60, 0.9, 0.9),
    "ɨ": Lips(0.38, 0.30, 0.9, 0.7), "ɯ": Lips(0.35, 0.20, 0.9, 0.6),
    "i": Lips(0.38, 1.00, 1.0, 1.0), "y": Lips(0.25, -0.90, 1.0, 1.0),
    "u": Lips(0.25, -0.95, 1.0, 1.0), "ʉ": Lips(0.28, -0.80, 1.0, 1.0),
    "ɚ": Lips(0.42, -0.25, 0.8, 0.6),
    # labial consonants
    "p": Lips(0.00, -0.20, 1.0, 0.50, "lips"), "b": Lips(0.00, -0.20, 1.0, 0.50, "lips"),
    "m": Lips(0.00, -0.20, 1.0, 0.50, "lips"), "f": Lips(0.10, 0.10, 1.0, 0.35, "teeth"),
    "v": Lips(0.12, 0.05, 0.9, 0.35, "teeth"), "ɱ": Lips(0.10, 0.05, 0.9, 0.3, "teeth"),
    "ʋ": Lips(0.18, 0.00, 0.8, 0.3, "teeth"), "β": Lips(0.12, -0.05, 0.9, 0.3),
    "ɸ": Lips(0.12, -0.20, 0.9, 0.4), "w": Lips(0.12, -1.00, 1.0, 1.0),
    "ʍ": Lips(0.12, -1.00, 1.0, 1.0), "ɥ": Lips(0.15, -0.95, 1.0, 1.0),
    # teeth and ridge
    "θ": Lips(0.30, 0.10, 0.6, 0.3), "ð": Lips(0.32, 0.10, 0.5, 0.3),
    "s": Lips(0.25, 0.35, 0.75, 0.5), "z": Lips(0.25, 0.35, 0.7, 0.5),
    "t": Lips(0.32, 0.15, 0.4, 0.25), "d": Lips(0.34, 0.15, 0.4, 0.25),
    "n": Lips(0.36, 0.10, 0.35, 0.2), "l": Lips(0.42, 0.10, 0.35, 0.2),
    "ɫ": Lips(0.42, -0.15, 0.35, 0.3), "ɬ": Lips(0.36, 0.10, 0.4, 0.2),
    "ɮ": Lips(0.36, 0.10, 0.4, 0.2), "ɾ": Lips(0.40, 0.05, 0.25, 0.2),
    "r": Lips(0.40, 0.00, 0.35, 0.2), "ɹ": Lips(0.30, -0.45, 0.6, 0.6),
    "ɻ": Lips(0.30, -0.40, 0.6, 0.6),
    # behind the ridge
    "ʃ": Lips(0.30, -0.55, 0.8, 0.8), "ʒ": Lips(0.30, -0.55, 0.8, 0.8),
    "ʂ": Lips(0.30, -0.45, 0.8, 0.7), "ʐ": Lips(0.30, -0.45, 0.8, 0.7),
    "ɕ": Lips(0.28, 0.05, 0.8, 0.5), "ʑ": Lips(0.28, 0.05, 0.8, 0.5),
    "ʈ": Lips(0.34, 0.00, 0.4, 0.2), "ɖ": Lips(0.34, 0.00, 0.4, 0.2),
    "ɳ": Lips(0.36, 0.00, 0.35, 0.2), "ɭ": Lips(0.40, 0.00, 0.35, 0.2),
    "ɽ": Lips(0.40, 0.00, 0.3, 0.2),
    # palate, velum, throat
    "j": Lips(0.33, 0.50, 0.6, 0.6), "ç": Lips(0.33, 0.35, 0.5, 0.4),
    "ʝ": Lips(0.33, 0.35, 0.5, 0.4), "c": Lips(0.34, 0.25, 0.4, 0.3),
    "ɟ": Lips(0.34, 0.25, 0.4, 0.3), "ɲ": Lips(0.35, 0.25, 0.4, 0.3),
    "ʎ": Lips(0.36, 0.25, 0.4, 0.3), "k": Lips(0.42, 0.05, 0.25, 0.15),
    "ɡ": Lips(0.42, 0.05, 0.25, 0.15), "ŋ": Lips(0.42, 0.05, 0.25, 0.15),
    "x": Lips(0.45, 0.00, 0.25, 0.15), "ɣ": Lips(0.45, 0.00, 0.25, 0.15),
    "ɰ": Lips(0.42, 0.05, 0.25, 0.15), "q": Lips(0.48, 0.00, 0.25, 0.15),
    "χ": Lips(0.48, 0.00, 0.25, 0.15), "ʁ": Lips(0.45, 0.00, 0.3, 0.15),
    "ʀ": Lips(0.45, 0.00, 0.3, 0.15), "ħ": Lips(0.55, 0.00, 0.25, 0.1),
    "ʕ": Lips(0.60, 0.00, 0.3, 0.1), "h": Lips(0.50, 0.00, 0.08, 0.05),
    "ɦ": Lips(0.50, 0.00, 0.08, 0.05), "ʔ": Lips(0.45, 0.00, 0.08, 0.05),
}  # fmt: skip

PHONES = tuple(LIPS)  # classes of the auxiliary classifier


def _spellings(pairs: str) -> dict[str, str]:
    return dict(pair.split("=") for pair in pairs.split())


# Spellings → IPA. Several IPA symbols share the time of the phone, the more open one gets more.
RADIO = _spellings(
    "pau= ssil= brth= h#= aa=ɑ ae=æ ah=ʌ ao=ɔ aw=aʊ ax=ə axr=ɚ ay=aɪ b=b ch=tʃ d=d dh=ð dx=ɾ"
    " eh=ɛ el=əl em=əm en=ən er=ɚ ey=eɪ f=f g=ɡ hh=h hv=ɦ ih=ɪ iy=i jh=dʒ k=k l=l m=m n=n nx=n"
    " ng=ŋ ow=oʊ oy=ɔɪ p=p r=ɹ s=s sh=ʃ t=t th=θ uh=ʊ uw=u v=v w=w y=j z=z zh=ʒ"
)
ITALIAN = _spellings(
    "#= a=a e=e E=ɛ i=i o=o O=ɔ u=u j=j w=w p=p b=b t=t d=d k=k g=ɡ f=f v=v s=s z=z S=ʃ Z=ʒ m=m"
    " n=n ng=ŋ nf=ɱ J=ɲ l=l L=ʎ r=r ts=ts dz=dz tS=tʃ dZ=dʒ"
)
CATALAN = _spellings("pau= ax=ə rr=r r=ɾ B=β D=ð G=ɣ y=j uw=w W=w X=x T=θ h=h")
CZECH = _spellings(
    "#= _= a=a e=ɛ i=ɪ o=o u=u c=ts c~=tʃ d~=ɟ t~=c n~=ɲ n*=ŋ s~=ʃ z~=ʒ r~=rʒ r~*=rʃ dz=dz"
    " dz~=dʒ g=ɡ h=ɦ ch=x j=j w=v x=x q=k"
)
FINNISH = _spellings("#= ##= @=æ 7=ø N=ŋ g=ɡ v=ʋ a=ɑ S=ʃ Q= h=h")
INDIC = _spellings(
    "pau= a=ə aa=a i=ɪ ii=i ee=e e=e eh=e u=ʊ uh=ʊ uu=u uw=u o=o oo=o oh=o ay=ɛ ai=ɛ aw=ɔ au=ɔ"
    " ow=ɔ bh=b ph=p th=t dh=d kh=k gh=ɡ c=tʃ ch=tʃ chh=tʃ cch=tʃ j=dʒ jh=dʒ t:=ʈ d:=ɖ tr=ʈ dr=ɖ"
    " tth=ʈ ddh=ɖ tt=ʈ dd=ɖ nn=ɳ ng=ŋ nj=ɲ sh=ʃ shh=ʂ ss=ʂ y=j v=ʋ ll=ɭ g=ɡ iy=i ih=ɪ ah=ə ri=rɪ"
    " rr=ɽ T=ʈ D=ɖ N=ɳ L=ɭ"
)
RUSSIAN = _spellings(
    "pau= aa=a a=ə ae=ɪ ay=ɪ ee=ɛ e=e ii=i i=ɪ oo=o uu=u u=ʊ ur=ʊ yy=ɨ y=ɨ c=ts ch=tɕ sh=ʂ"
    " sch=ɕ zh=ʐ h=x hh=x g=ɡ gg=ɡ j=j"
)
ALPHABETS = {
    "ipa": {},
    "radio": RADIO,
    "italian": ITALIAN,
    "catalan": ITALIAN | CATALAN,
    "czech": CZECH,
    "finnish": FINNISH,
    "indic": INDIC,
    "russian": RUSSIAN,
}
FALLBACK = _spellings("g=ɡ ɝ=ɚ ᵻ=ɪ ɞ=œ ʦ=ts ʧ=tʃ ʤ=dʒ ɺ=ɾ ɓ=b ɗ=d ɴ=ŋ")


def to_ipa(name: str, start: float, end: float, alphabet: str) -> list[Segment]:
    """The IPA segments of one phone as an engine spells it, sharing its time."""
    symbols = [symbol for symbol in spell(name, alphabet) if symbol in LIPS]
    if not symbols:
        return [Segment("", start, end)] if is_pause(name, alphabet) else []
    if len(symbols) == 1:
        return [Segment(symbols[0], start, end)]
    first = 0.6 if LIPS[symbols[0]].aperture >= LIPS[symbols[-1]].aperture else 0.45
    cuts = [0.0, first] + [
        first + (1 - first) * (k + 1) / (len(symbols) - 1) for k in range(len(symbols) - 1)
    ]
    times = [start + (end - start) * cut for cut in cuts]
    return [
        Segment(symbol, a, b) for symbol, a, b in zip(symbols, times[:-1], times[1:], strict=True)
    ]


def spell(name: str, alphabet: str) -> str:
    """IPA symbols of an engine's phone; long, stressed and doubled variants fall together."""
    table = ALPHABETS[alphabet]
    for spelling in (
        name,
        name.rstrip("1:*"),
        name[: len(name) // 2] if len(name) % 2 == 0 else name,
    ):
        if spelling in table:
            return table[spelling]
    letters = name if alphabet == "ipa" else name.rstrip("1:*")
    if alphabet != "ipa" and len(letters) == 2 and letters[0] == letters[1]:
        letters = letters[0]
    return "".join(_plain(letter) for letter in letters)


def _plain(letter: str) -> str:
    """A letter of `LIPS`: without its marks, unless IPA has the marked letter itself."""
    letter = FALLBACK.get(letter, letter)
    return letter if letter in LIPS else normalize("NFD", letter)[0]


def is_pause(name: str, alphabet: str) -> bool:
    """Whether the engine means silence."""
    return name == "" or ALPHABETS[alphabet].get(name) == ""
