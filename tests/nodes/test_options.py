import pytest
import torch
from soliloquy.models.motion.atl_diff import ATLDiffMotion
from soliloquy.models.motion.kdtalker_motion import KDTalkerMotion
from soliloquy.models.motion.kflm_motion import KFLMMotion
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.liveportrait.renderer import NETWORKS, LivePortraitRenderer
from torch import nn

from .loaded import host, host_double, options


@pytest.fixture(autouse=True)
def state(tmp_path):
    host_double.STATE.reset(tmp_path)
    return host_double.STATE


@pytest.fixture
def kdtalker():
    return host.Managed(KDTalkerMotion(network=nn.Linear(1, 1), extractor=nn.Linear(1, 1)))


@pytest.fixture
def liveportrait():
    networks = {name: nn.Linear(1, 1) for name in NETWORKS}
    return host.Managed(LivePortraitRenderer(networks))


def adjusted_kdtalker(model, mode="reference", crop="kdtalker"):
    settings = {"predicted_translation": True, "predicted_scale": True, "smoothing": False}
    return options.KDTalkerOptions.execute(model, mode=mode, crop=crop, **settings).result[0]


def adjusted_liveportrait(renderer, **changes):
    widgets = options.LivePortraitOptions.GET_SCHEMA().inputs[1:]
    settings = {entry.id: entry.as_dict()["default"] for entry in widgets}
    return options.LivePortraitOptions.execute(renderer, **(settings | changes)).result[0]


def test_the_options_of_kdtalker_arrive_in_a_copy_with_the_same_networks(kdtalker, state):
    adjusted = adjusted_kdtalker(kdtalker)
    made = adjusted.system
    assert (made.mode, made.crop, made.use_translation, made.use_scale, made.smoothing) == (
        *("reference", "kdtalker"),
        *(True, True, False),
    )
    assert kdtalker.system.mode == "default"
    assert made.network is kdtalker.system.network
    assert adjusted.get_models() is kdtalker.get_models()
    assert len(adjusted.get_models()) == 2
    adjusted.ready()
    assert state.loaded == kdtalker.get_models()


def test_liveportraits_networks_have_a_patcher_each(liveportrait):
    assert len(liveportrait.get_models()) == len(NETWORKS)


def test_the_defaults_of_the_node_change_nothing(liveportrait):
    made, before = adjusted_liveportrait(liveportrait).system.defaults, liveportrait.system.defaults
    assert vars(made) == vars(before)


def test_the_options_of_liveportrait_arrive_in_a_copy(liveportrait):
    adjusted = adjusted_liveportrait(
        liveportrait, mode="relative", strength=0.5, stitching=False, eye_opening=0.35
    )
    made = adjusted.system.defaults
    assert (made.mode, made.strength, made.stitching) == ("relative", 0.5, False)
    assert made.eye_opening == 0.35
    assert made.lip_opening is None
    assert liveportrait.system.defaults.mode == "absolute"
    assert adjusted.system.networks is liveportrait.system.networks


def test_compiling_is_asked_for_by_a_widget_and_only_for_the_copy(liveportrait, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda work: compiled.append(work) or work)
    before = liveportrait.system._paint
    adjusted_liveportrait(liveportrait)
    assert compiled == []
    adjusted = adjusted_liveportrait(liveportrait, compiled=True, strength=0.5)
    assert [work.__func__ for work in compiled] == [before.__func__]
    assert adjusted.system.defaults.strength == 0.5
    assert adjusted.system.networks is liveportrait.system.networks


def test_options_refuse_another_system_and_say_what_to_choose(kdtalker, liveportrait):
    with pytest.raises(PayloadError, match="Choose 'kdtalker' in Load Motion Model"):
        adjusted_kdtalker(liveportrait)
    with pytest.raises(PayloadError, match="Choose 'liveportrait' in Load Renderer"):
        adjusted_liveportrait(kdtalker)


def test_the_options_of_atl_diff_arrive_in_a_copy(kdtalker):
    model = host.Managed(ATLDiffMotion(network=nn.Linear(1, 1)))
    execute = options.ATLDiffOptions.execute
    made = execute(model, "happy", 0.5, "default").result[0].system
    assert (made.emotion, made.intensity) == ("happy", 0.5)
    assert (model.system.emotion, model.system.intensity) == ("neutral", 1.0)
    assert made.network is model.system.network
    published = host.Managed(KFLMMotion(network=model.system.network))
    assert execute(published, "neutral", 1.0, "reference").result[0].system.mode == "reference"
    with pytest.raises(PayloadError, match="Choose 'atl_diff' in Load Motion Model"):
        execute(kdtalker, "neutral", 1.0, "default")


def test_a_graph_on_the_cpu_stays_in_full_precision(liveportrait):
    assert liveportrait.system.dtype == torch.float32
