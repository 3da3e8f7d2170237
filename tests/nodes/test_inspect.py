import torch

from .loaded import host_double
from .loaded import inspect as nodes
from .test_motion import talking


def test_a_motion_becomes_one_picture_of_the_size_asked_for(tmp_path):
    host_double.STATE.reset(tmp_path)
    audio = {"waveform": torch.rand(1, 1, 16000) - 0.5, "sample_rate": 16000}
    plain = nodes.PreviewMotion.execute(talking(), 640, 480).result[0]
    heard = nodes.PreviewMotion.execute(talking(), 640, 480, audio).result[0]
    assert plain.shape == heard.shape == (1, 480, 640, 3)
    assert 0 <= plain.min() < plain.max() <= 1
    assert not torch.equal(plain, heard)
