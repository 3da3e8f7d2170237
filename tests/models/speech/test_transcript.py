"""Characters of a transcript and when they are said."""

import torch
from soliloquy.models.speech.transcript import CODES, character_codes, spread


def test_case_accents_and_line_breaks_do_not_matter():
    assert torch.equal(character_codes("Café\n au  lait"), character_codes("cafe au lait"))


def test_every_script_has_codes_and_padding_keeps_its_own():
    codes = character_codes("abc, 12! 你好 привет")
    assert len(codes) == 18
    assert codes.min() >= 1
    assert codes.max() < CODES


def test_an_empty_transcript_has_no_characters():
    assert character_codes("  \n").shape == (0,)


def test_characters_are_said_while_there_is_a_voice():
    energy = torch.zeros(100)
    energy[20:40] = energy[80:90] = 1.0
    places = spread(30, energy)
    assert (places.diff() >= 0).all()
    inside = ((places >= 19) & (places <= 41)) | ((places >= 79) & (places <= 91))
    assert inside.all()
    assert 18 <= int((places < 60).sum()) <= 22


def test_silence_is_filled_at_an_even_pace():
    torch.testing.assert_close(
        spread(4, torch.zeros(100)), torch.tensor([12.0, 37.0, 62.0, 87.0]), atol=1.5, rtol=0
    )
