"""Sentences for the synthesisers."""

import random

import pytest
from soliloquy.training.sentences import WORDS, invent_word, sentence
from soliloquy.training.voices import ESPEAK_LANGUAGES, FESTIVAL, FLITE, espeak_voice


@pytest.mark.parametrize("language", list(WORDS))
def test_every_language_speaks_sentences_that_differ(language):
    source = random.Random(0)
    said = {sentence(language, source) for _ in range(20)}
    assert len(said) == 20
    assert all(2 <= len(one.split()) <= 20 for one in said)


def test_the_same_seed_says_the_same():
    assert sentence("en", random.Random(3)) == sentence("en", random.Random(3))


def test_made_up_russian_words_are_cyrillic():
    word = invent_word("ru", random.Random(0))
    assert all("а" <= letter <= "я" or letter == "ё" for letter in word)


def test_every_voice_has_sentences_its_engine_can_read():
    source = random.Random(0)
    for voice in FLITE + FESTIVAL:
        assert sentence(voice.language, source).encode(voice.encoding, errors="ignore")
    assert {pair.split("=")[1] for pair in ESPEAK_LANGUAGES.split()} <= set(WORDS)
    assert len({espeak_voice(source).name for _ in range(200)}) > 100
