import pytest
import torch
from soliloquy.models.keyframes.edit import as_text, from_text
from soliloquy.models.payloads import Keyframes, PayloadError, Speech, Timeline

from .loaded import host, host_double
from .loaded import keyframes as nodes
from .performance import talking


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


def speech(seconds=4):
    timeline = Timeline.for_sound(seconds * 16000, 16000, 25)
    times = timeline.frame_centres().float()
    return Speech(
        streams={"energy": (0.5 + 0.4 * torch.cos(6.28 * times))[:, None]}, timeline=timeline
    )


class Model:
    def __init__(self):
        self.asked = None

    def predict(self, speech, seed=0, *, rate=None, on_step=None):
        self.asked = (seed, rate)
        on_step(1, 2)
        on_step(2, 2)
        return from_text("1 both", speech.timeline)


def edit(keyframes, changes="", mode="change", expression=1.0, pose=1.0, shift=0.0):
    with torch.inference_mode():
        return nodes.EditKeyframes.execute(keyframes, changes, mode, expression, pose, shift).result


def test_energy_peaks_need_no_weights(state):
    managed = nodes.LoadKeyframeModel.execute("energy_peaks").result[0]
    assert managed.get_models() == []
    with torch.inference_mode():
        keyframes = nodes.PredictKeyframes.execute(managed, speech(), 0, 0.0).result[0]
    assert isinstance(keyframes, Keyframes)
    assert keyframes.marks["expression"].any()
    assert "keyframes in 4.0 s" in state.said[-1]


def test_zero_means_as_many_as_people_have():
    model = Model()
    for rate, asked in ((0.0, None), (2.5, 2.5)):
        nodes.PredictKeyframes.execute(host.Managed(model), speech(), 7, rate)
        assert model.asked == (7, asked)


def test_interrupting_stops_inside_a_prediction(state):
    state.interrupt_after = 1
    with pytest.raises(host_double.InterruptProcessingException):
        nodes.PredictKeyframes.execute(host.Managed(Model()), speech(), 0, 0.0)
    assert len(state.reports) == 1


def test_a_motion_tells_its_keyframes():
    keyframes = nodes.KeyframesFromMotion.execute(talking(60)).result[0]
    assert keyframes.marks["expression"].any()
    assert keyframes.timeline == talking(60).timeline


def test_lines_change_or_replace_the_given_keyframes():
    before = from_text("1 both\n3 pose", speech().timeline)
    changed, text = edit(before, "remove 3 pose\n2 expression 0.5")
    assert (
        text
        == as_text(changed)
        == ("0:01.02 expression 1.00\n0:01.02 pose 1.00\n0:02.02 expression 0.50")
    )
    replaced, text = edit(before, "2 pose", mode="replace")
    assert text == "0:02.02 pose 1.00"
    assert as_text(before).count("\n") == 2
    assert int(replaced.marks["pose"].sum()) == 1


def test_the_list_that_is_shown_can_be_typed_again(state):
    before = from_text("1 both 0.7\n3 pose", speech().timeline)
    _, text = edit(before)
    again, same = edit(before, text, mode="replace")
    assert same == text
    assert text in state.said[-1]
    assert torch.equal(again.marks["pose"], before.marks["pose"])


def test_strength_and_shift_are_for_all():
    before = from_text("1 both", speech().timeline)
    _, text = edit(before, expression=0.0, pose=1.5, shift=0.4)
    assert text == "0:01.42 pose 1.50"


def test_a_line_that_cannot_be_understood_is_quoted():
    with pytest.raises(PayloadError, match="Line 1, 'nod here'"):
        edit(from_text("", speech().timeline), "nod here")


def test_keyframes_become_one_picture_of_the_size_asked_for():
    keyframes = nodes.KeyframesFromMotion.execute(talking(60)).result[0]
    audio = {"waveform": torch.rand(1, 1, 16000) - 0.5, "sample_rate": 16000}
    plain = nodes.PreviewKeyframes.execute(keyframes, 640, 320).result[0]
    full = nodes.PreviewKeyframes.execute(keyframes, 640, 320, audio, talking(60)).result[0]
    assert plain.shape == full.shape == (1, 320, 640, 3)
    assert not torch.equal(plain, full)
