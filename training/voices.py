"""The voices the starter learns from: free synthesisers that Debian packages.

Recorded speakers (flite and festival diphone, unit and HTS voices) carry what real throats do;
espeak-ng adds languages, speaking rates and vocal tracts that no recording covers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One speaker of one synthesiser."""

    engine: str  # "espeak", "flite" or "festival"
    name: str  # as the engine calls it
    language: str  # key of `sentences.WORDS`
    phones: str  # key of `phones.ALPHABETS`: how the engine writes its phones
    encoding: str = "utf-8"  # of the text that the engine reads
    package: str = ""  # Debian package
    licence: str = ""


def festival(
    name: str, language: str, phones: str, encoding: str, package: str, licence: str
) -> Voice:
    """A festival voice; `name` is the Scheme function that selects it."""
    return Voice(
        engine="festival",
        name=f"voice_{name}",
        language=language,
        phones=phones,
        encoding=encoding,
        package=package,
        licence=licence,
    )


FESTIVAL = (
    festival("kal_diphone", "en", "radio", "ascii", "festvox-kallpc16k", "MIT-like"),
    festival("ked_diphone", "en", "radio", "ascii", "festvox-kdlpc16k", "MIT-like"),
    festival("cmu_us_slt_arctic_hts", "en", "radio", "ascii", "festvox-us-slt-hts", "MIT-like"),
    festival("lp_diphone", "it", "italian", "latin-1", "festvox-italp16k", "GPL-2+"),
    festival("pc_diphone", "it", "italian", "latin-1", "festvox-itapc16k", "GPL-2+"),
    festival("czech_dita", "cs", "czech", "iso-8859-2", "festvox-czech-dita", "GPL-3+"),
    festival("czech_krb", "cs", "czech", "iso-8859-2", "festvox-czech-krb", "GPL-3+"),
    festival("czech_machac", "cs", "czech", "iso-8859-2", "festvox-czech-machac", "GPL-3+"),
    festival("czech_ph", "cs", "czech", "iso-8859-2", "festvox-czech-ph", "GPL-2+"),
    festival("suo_fi_lj_diphone", "fi", "finnish", "latin-1", "festvox-suopuhe-lj", "LGPL-2+"),
    festival("hy_fi_mv_diphone", "fi", "finnish", "latin-1", "festvox-suopuhe-mv", "LGPL-2+"),
    festival("hindi_NSK_diphone", "hi", "indic", "utf-8", "festvox-hi-nsk", "GPL-2+"),
    festival("marathi_NSK_diphone", "mr", "indic", "utf-8", "festvox-mr-nsk", "GPL-2+"),
    festival("telugu_NSK_diphone", "te", "indic", "utf-8", "festvox-te-nsk", "GPL-2+"),
    festival("msu_ru_nsh_clunits", "ru", "russian", "utf-8", "festvox-ru", "MIT-like"),
    festival("upc_ca_ona_hts", "ca", "catalan", "iso-8859-15", "festvox-ca-ona-hts", "LGPL-2.1+"),
)
FLITE = tuple(
    Voice(
        engine="flite", name=n, language="en", phones="radio", package="flite", licence="BSD-like"
    )
    for n in ("slt", "rms", "awb", "kal16")
)

# espeak-ng: language tag of the engine -> language of the sentences.
ESPEAK_LANGUAGES = """
    en-us=en en-gb=en en-gb-x-rp=en en-gb-scotland=en en-029=en de=de fr-fr=fr es=es
    es-419=es it=it pt=pt pt-br=pt ru=ru pl=pl nl=nl sv=sv tr=tr hi=hi ar=ar ja=ja
    cmn-latn-pinyin=zh cs=cs fi=fi ca=ca ko=ko el=el
"""
ESPEAK_VARIANTS = """
    m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 croak Andy Annie Denis
    Gene Jacky Lee Mario Michael Mike Steph linda max quincy rob robert steph travis victor
    iven
"""


def espeak_voice(random_source: random.Random) -> Voice:
    """A random espeak-ng speaker, English in two of five draws."""
    languages = dict(pair.split("=") for pair in ESPEAK_LANGUAGES.split())
    tags = list(languages)
    tag = random_source.choice(tags[:5] if random_source.random() < 0.4 else tags[5:])
    variant = random_source.choice(["", *ESPEAK_VARIANTS.split()])
    return Voice(
        engine="espeak",
        name=f"{tag}+{variant}" if variant else tag,
        language=languages[tag],
        phones="ipa",
        package="espeak-ng",
        licence="GPL-3+",
    )
