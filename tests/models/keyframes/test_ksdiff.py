"""KSDiff's keyframes of whole sounds."""

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.keyframes import ksdiff
from soliloquy.models.keyframes.predictor import KeyframePredictors, PredictorConfig
from soliloquy.models.payloads import PayloadError, Speech, Timeline

CONFIG = PredictorConfig(speech=4, width=8, heads=2, layers=1, dilations=(1,), horizon=10)


def model() -> ksdiff.KSDiffKeyframeModel:
    """Untrained, but made so that the first channel of the speech decides."""
    torch.manual_seed(0)
    network = KeyframePredictors(CONFIG).eval()
    for path in ("expression", "pose"):
        part = network.path(path)
        for weights in part.parameters():
            torch.nn.init.normal_(weights, std=0.05)
        torch.nn.init.zeros_(part.speech.weight)
        part.speech.weight.data[0, 0] = 1.0
        torch.nn.init.ones_(part.norm.weight)
        part.out.weight.data[0, 0] = 2.0
        part.threshold.fill_(1.0)
    return ksdiff.KSDiffKeyframeModel(network)


def speech(moments: list[float], seconds: float, fps: float = 25) -> Speech:
    """The first channel of both paths rises at some moments."""
    timeline = Timeline.for_sound(int(seconds * 16000), 16000, fps)
    times = timeline.frame_centres().float()
    rises = sum(torch.exp(-0.5 * ((times - moment) / 0.05) ** 2) for moment in moments)
    stream = torch.nn.functional.pad(3 * rises[:, None], (0, 3))
    return Speech(
        streams={"expression": stream, "pose": stream, "text": torch.zeros_like(stream)},
        timeline=timeline,
    )


def times_of(keyframes, path: str) -> list[float]:
    return keyframes.timeline.frame_centres()[keyframes.marks[path]].tolist()


@pytest.mark.parametrize("fps", [12, 25, 60])
def test_keyframes_are_where_the_speech_says_at_any_frame_rate(fps):
    moments = [0.5, 1.3, 1.7, 4.9, 14.0, 14.4, 21.1]
    found = times_of(model().predict(speech(moments, 25, fps)), "pose")
    near = [min(abs(moment - other) for other in found) for moment in moments]
    assert max(near) < 0.08 + 0.5 / fps
    far = [min(abs(moment - other) for other in moments) for moment in found]
    assert max(far) < 0.15  # nothing elsewhere


def test_windows_give_what_one_window_would(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    stream = 2 * torch.randn(500, 4, generator=generator)
    noise, text = torch.zeros(500), torch.zeros(500, 4)
    windows = model().mark("expression", stream, text, noise)
    monkeypatch.setattr(ksdiff, "WINDOW", 1000)
    whole = model().mark("expression", stream, text, noise)
    assert int(whole.sum()) > 25
    assert int((whole != windows).sum()) <= 4


def test_keyframes_keep_apart():
    marks = model().predict(speech([i / 50 for i in range(500)], 10)).marks["expression"]
    assert marks.nonzero()[:, 0].diff().min() >= ksdiff.REFRACTORY


def test_seeds_repeat_and_differ():
    heard = speech([i / 3 for i in range(30)], 10)
    one, same, other = (model().predict(heard, seed).marks["pose"] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_rate_is_relative_to_what_was_learned():
    generator = torch.Generator().manual_seed(0)
    timeline = Timeline.for_sound(16000 * 30, 16000, 25)
    stream = torch.randn(750, 4, generator=generator)
    heard = Speech(
        streams={"expression": stream, "pose": stream, "text": torch.zeros(750, 4)},
        timeline=timeline,
    )
    made = model()
    made.network.path("expression").threshold.fill_(3.5)
    usual, half, more = (
        int(made.predict(heard, rate=rate).marks["expression"].sum()) for rate in (None, 1, 3)
    )
    assert 0.3 * usual < half < 0.7 * usual
    assert 1.25 * usual < more < 1.75 * usual


def test_streams_of_another_encoder_are_refused():
    timeline = Timeline.for_sound(16000, 16000, 25)
    other = Speech(streams={"energy": torch.zeros(25, 1)}, timeline=timeline)
    with pytest.raises(PayloadError, match="needs the speech stream 'text'"):
        model().predict(other)


def test_the_shortest_sound_has_an_answer():
    found = model().predict(speech([0.0], 0.02))
    assert found.marks["pose"].shape == (1,)


def test_progress_may_interrupt():
    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 2)
        raise StopHereError

    with pytest.raises(StopHereError):
        model().predict(speech([1.0], 3), on_step=stop)


def test_thresholds_travel_in_the_file(tmp_path):
    network = model().network
    sizes = {"speech": 4, "width": 8, "heads": 2, "layers": 1, "dilations": [1], "horizon": 10}
    checkpoints.save(network, tmp_path / "w.safetensors", sizes)
    loaded = checkpoints.load("ksdiff_keyframes", tmp_path / "w.safetensors")
    assert loaded.config == CONFIG
    assert float(loaded.path("pose").threshold) == 1
