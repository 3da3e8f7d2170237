"""Spellings of phones."""

import pytest
from soliloquy.training.phones import ALPHABETS, LIPS, Segment, to_ipa


@pytest.mark.parametrize(
    ("name", "alphabet", "expected"),
    [
        ("oʊ", "ipa", "oʊ"),
        ("iː", "ipa", "i"),
        ("ä", "ipa", "a"),
        ("ç", "ipa", "ç"),
        ("tɕ", "ipa", "tɕ"),
        ("hh", "radio", "h"),
        ("aw", "radio", "aʊ"),
        ("a1", "italian", "a"),
        ("dZ", "italian", "dʒ"),
        ("i:", "czech", "ɪ"),
        ("r~*", "czech", "rʃ"),
        ("ss", "russian", "s"),
        ("k:", "finnish", "k"),
        ("bh", "indic", "b"),
    ],
)
def test_spellings_become_ipa(name, alphabet, expected):
    assert "".join(segment.phone for segment in to_ipa(name, 0.0, 0.1, alphabet)) == expected


def test_every_table_leads_to_known_phones():
    for alphabet, table in ALPHABETS.items():
        for name, spelling in table.items():
            assert all(symbol in LIPS for symbol in spelling), (alphabet, name)


def test_a_diphthong_shares_its_time_without_a_gap():
    first, second = to_ipa("ay", 1.0, 1.2, "radio")
    assert first.start == 1.0
    assert first.end == second.start
    assert second.end == pytest.approx(1.2)


def test_pauses_are_silence():
    assert to_ipa("pau", 0.0, 0.3, "radio") == [Segment("", 0.0, 0.3)]
    assert to_ipa("", 0.0, 0.3, "ipa") == [Segment("", 0.0, 0.3)]
