from soliloquy.models.motion.arkit import ARKIT52, INDEX


def test_there_are_52_names_each_once_and_each_side_has_its_other():
    assert len(ARKIT52) == len(set(ARKIT52)) == 52
    assert [INDEX[name] for name in ARKIT52] == list(range(52))
    for name in ARKIT52:
        assert name.replace("Left", "*").replace("Right", "Left").replace("*", "Right") in INDEX
