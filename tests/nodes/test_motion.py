import pytest
import torch
from soliloquy.models.motion.arkit import INDEX
from soliloquy.models.payloads import PayloadError, Speech, Timeline

from .. import weight_files
from .loaded import host, host_double
from .loaded import motion as nodes
from .loaded import speech as speech_nodes
from .performance import same, talking


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


DEFAULTS = {
    entry.id: entry.as_dict()["default"]
    for entry in nodes.EditMotion.GET_SCHEMA().inputs
    if entry.io_type in ("FLOAT", "STRING")
}


def edit(motion, **settings):
    with torch.inference_mode():
        return nodes.EditMotion.execute(motion, **{**DEFAULTS, **settings}).result[0]


def test_editing_with_the_defaults_changes_nothing():
    motion = talking()
    assert same(edit(motion), motion)


def test_edits_reach_what_they_name_and_leave_the_input_alone():
    motion = talking()
    before = motion.values.clone(), motion.rotation.clone()
    changed = edit(motion, mouth=0.5, yaw_limit=4, pitch_offset=3, weights="mouthSmile 0.1")
    jaw, smile = INDEX["jawOpen"], INDEX["mouthSmileLeft"]
    assert torch.allclose(changed.values[:, jaw], motion.values[:, jaw] * 0.5)
    assert torch.allclose(changed.values[:, smile], motion.values[:, smile] * 0.5 + 0.1)
    assert changed.rotation[:, 1].abs().max() <= 4
    assert torch.allclose(changed.rotation[:, 0], motion.rotation[:, 0] + 3, atol=1e-4)
    assert torch.equal(motion.values, before[0])
    assert torch.equal(motion.rotation, before[1])


def test_weights_are_written_as_names_and_amounts():
    assert nodes.named_weights("") == {}
    assert nodes.named_weights("mouthSmile 0.2, jawOpen=-0.1\nbrowInnerUp 1") == {
        "mouthSmile": 0.2,
        "jawOpen": -0.1,
        "browInnerUp": 1.0,
    }
    for text in ("mouthSmile", "mouthSmile much", "a b 1"):
        with pytest.raises(PayloadError, match="not a weight and an amount"):
            nodes.named_weights(text)


class Model:
    def __init__(self):
        self.asked = None

    def sample(self, speech, portrait=None, keyframes=None, **options):
        self.asked, self.keyframes = options, keyframes
        options["on_step"](1, 2)
        options["on_step"](2, 2)
        return talking(speech.timeline.num_frames)


def sample(model, seed=0, steps=0, guidance=0.0):
    timeline = Timeline.for_sound(16000, 16000, 25)
    speech = Speech(streams={"energy": torch.zeros(25, 1)}, timeline=timeline)
    with torch.inference_mode():
        return nodes.SampleMotion.execute(host.Managed(model), speech, seed, steps, guidance)


def test_keyframes_reach_the_model():
    model, keyframes = Model(), object()
    timeline = Timeline.for_sound(16000, 16000, 25)
    speech = Speech(streams={"energy": torch.zeros(25, 1)}, timeline=timeline)
    for given in (keyframes, None):
        managed = host.Managed(model)
        nodes.SampleMotion.execute(managed, speech, 0, 0, 0.0, keyframes=given)
        assert model.keyframes is given


def test_zero_means_what_the_model_was_published_with():
    model = Model()
    sample(model)
    assert model.asked["steps"] is None
    assert model.asked["guidance"] is None
    sample(model, seed=3, steps=20, guidance=1.5)
    assert (model.asked["seed"], model.asked["steps"], model.asked["guidance"]) == (3, 20, 1.5)


def test_interrupting_stops_inside_a_step(state):
    state.interrupt_after = 1
    with pytest.raises(host_double.InterruptProcessingException):
        sample(Model())
    assert len(state.reports) == 1


def test_the_bundled_model_gives_the_same_motion_for_the_same_seed():
    managed = nodes.LoadMotionModel.execute("starter").result[0]
    timeline = Timeline.for_sound(48000, 16000, 25)
    generator = torch.Generator().manual_seed(0)
    streams = {
        "expression": torch.randn(75, 64, generator=generator),
        "energy": torch.rand(75, 1, generator=generator),
        "f0": torch.full((75, 1), 120.0),
    }
    speech = Speech(streams=streams, timeline=timeline)
    before = {name: stream.clone() for name, stream in streams.items()}
    with torch.inference_mode():
        takes = [
            nodes.SampleMotion.execute(managed, speech, seed, 0, 0.0).result[0]
            for seed in (5, 5, 6)
        ]
    assert torch.equal(takes[0].values, takes[1].values)
    assert torch.equal(takes[0].rotation, takes[1].rotation)
    assert not torch.equal(takes[0].rotation, takes[2].rotation)
    assert all(torch.equal(speech.streams[name], before[name]) for name in before)


def test_kdtalker_is_loaded_from_the_models_folder_and_moves_the_portrait(tmp_path, state):
    """A network of the published layout and a small size."""
    from .test_render import portrait

    host.register_model_folders()
    weight_files.write_kdtalker(tmp_path / "models" / "kdtalker", tag="small", width=24, depth=1)
    weight_files.write_liveportrait(tmp_path / "models" / "liveportrait", ("motion",))
    encoder = speech_nodes.LoadSpeechEncoder.execute("wav2lip")
    assert "non-commercial" in encoder.ui.value
    audio = {"waveform": torch.rand(1, 1, 8000) - 0.5, "sample_rate": 16000}
    with torch.inference_mode():
        speech = speech_nodes.EncodeSpeech.execute(encoder.result[0], audio, 25.0).result[0]
        model = nodes.LoadMotionModel.execute("kdtalker").result[0]
        motion = nodes.SampleMotion.execute(model, speech, 3, 2, 0.0, portrait()).result[0]
    assert motion.space == "liveportrait"
    assert motion.values.shape == (13, 21, 3)
    assert len(model.get_models()) == 2
    assert state.loaded[-2:] == model.get_models()
    assert state.reports[-1][:2] == (2, 2)
