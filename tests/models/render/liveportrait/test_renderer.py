"""The renderer's contract, with small stand-ins for the two large networks."""

import pytest
import torch
from soliloquy.models.formats import find_system
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.liveportrait.appearance import AppearanceExtractor
from soliloquy.models.render.liveportrait.motion_extractor import MotionExtractor
from soliloquy.models.render.liveportrait.performance import Performance
from soliloquy.models.render.liveportrait.renderer import FILES, LivePortraitRenderer, load
from soliloquy.models.render.liveportrait.retargeting import EYE, LIP, STITCHING, Retargeting
from soliloquy.models.render.liveportrait.warping import WarpingSource
from torch import nn

from .faces import motion, portrait


class Warping(nn.Module):
    """Features that depend on the keypoints alone."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def prepare(self, volume, keypoints):
        return WarpingSource(
            volume=volume, compressed=volume, still=volume, keypoints=keypoints, heat=volume
        )

    def warp(self, source, keypoints):
        assert keypoints.dtype == torch.float32
        return (keypoints - source.keypoints).mean((1, 2)).to(source.volume) * self.gain


class Generator(nn.Module):
    """A grey as bright as the face has moved; NaN where told."""

    def __init__(self, broken=()):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.broken, self.runs = broken, []

    def forward(self, features):
        self.runs.append((len(features), self.weight.dtype))
        frames = (features[:, None, None, None] * 2).sigmoid().expand(-1, 3, 512, 512)
        return frames * float("nan") if self.weight.dtype in self.broken else frames


def renderer(dtype=torch.float32, broken=(), **defaults):
    torch.manual_seed(5)
    networks = {
        "appearance": AppearanceExtractor(width=2, blocks=0),
        "motion": MotionExtractor(depths=(1, 1, 1, 1), widths=(4, 4, 4, 4)),
        "warping": Warping(),
        "generator": Generator(broken),
        "stitching": Retargeting(STITCHING),
        "retarget_lip": Retargeting(LIP),
        "retarget_eye": Retargeting(EYE),
    }
    networks = {name: network.eval() for name, network in networks.items()}
    return LivePortraitRenderer(networks, dtype=dtype, defaults=Performance(**defaults))


def test_frames_are_full_pictures_changed_inside_the_crop_only():
    face = portrait(size=300)
    frames = torch.cat(list(renderer().render(face, motion(), batch=2)))
    assert frames.shape == (5, 300, 300, 3)
    assert frames.dtype == torch.uint8
    assert torch.equal(frames[:, :10], face.image[:10].expand(5, -1, -1, -1))
    middle = frames[:, 150, 150].float()
    assert middle.std(0).min() > 0
    assert (middle == middle[:, :1]).all()


def test_the_portraits_mask_is_respected():
    mask = torch.ones(300, 300)
    mask[:, :150] = 0
    face = portrait(size=300, mask=mask)
    frames = torch.cat(list(renderer().render(face, motion(), batch=2)))
    assert torch.equal(frames[:, :, :150], face.image[:, :150].expand(5, -1, -1, -1))
    assert not torch.equal(frames[0, :, 150:], face.image[:, 150:])


def test_the_batch_changes_only_the_size_of_the_tensors():
    clips = []
    for batch, sizes in ((1, [1] * 5), (2, [2, 2, 1]), (8, [5])):
        parts = list(renderer(paste_back=False).render(portrait(), motion(), batch=batch))
        assert [len(part) for part in parts] == sizes
        clips.append(torch.cat(parts))
    assert clips[0].shape == (5, 512, 512, 3)
    assert torch.equal(clips[0], clips[1])
    assert torch.equal(clips[0], clips[2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_nan_in_half_precision_is_computed_again_in_float32(dtype):
    broken = renderer(dtype, broken=(dtype,), paste_back=False)
    frames = torch.cat(list(broken.render(portrait(), motion(2))))
    runs = broken.networks["generator"].runs
    assert runs == [(1, dtype), (1, torch.float32)] * 2
    whole = torch.cat(list(renderer(paste_back=False).render(portrait(), motion(2))))
    assert (frames.float() - whole.float()).abs().max() <= 2
    assert broken.networks["generator"].weight.dtype == dtype


def test_nan_in_float32_is_an_error():
    broken = renderer(torch.float16, broken=(torch.float16, torch.float32))
    with pytest.raises(PayloadError, match="NaN in float32 too"):
        list(broken.render(portrait(), motion(2)))


def test_progress_is_told_and_an_interrupt_passes_through():
    told = []

    def stop(done, total):
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    system = renderer(paste_back=False)
    frames = system.render(portrait(), motion(), batch=2, on_frame=stop)
    assert len(next(frames)) == 2
    with pytest.raises(KeyboardInterrupt):
        next(frames)
    assert told == [(1, 5), (2, 5), (3, 5)]
    assert len(system.networks["generator"].runs) == 3, "it went on after the interrupt"


def test_an_interrupt_before_the_first_frame_is_done_costs_one_run_of_the_networks():
    def stop(done, total):
        raise KeyboardInterrupt

    system = renderer()
    with pytest.raises(KeyboardInterrupt):
        next(system.render(portrait(), motion(40), batch=16, on_frame=stop))
    assert system.networks["generator"].runs == [(1, torch.float32)]


def test_the_portrait_is_encoded_once():
    system = renderer(paste_back=False)
    calls = []
    system.networks["appearance"].register_forward_hook(lambda *_: calls.append(1))
    list(system.render(portrait(), motion(), batch=1))
    assert calls == [1]


def test_what_render_is_told_goes_before_the_defaults():
    system = renderer(paste_back=False)
    crops = next(system.render(portrait(), motion(1)))
    full = next(system.render(portrait(), motion(1), performance=Performance(paste_back=True)))
    assert crops.shape[1:] == (512, 512, 3)
    assert full.shape[1:] == (160, 160, 3)


def test_an_expression_offset_changes_the_frames():
    system, offset = renderer(paste_back=False), torch.zeros(21, 3)
    before = next(system.render(portrait(), motion(1))).float().mean()
    offset[14, 1] = 0.5
    chosen = Performance(paste_back=False, expression_offset=offset)
    after = next(system.render(portrait(), motion(1), performance=chosen)).float().mean()
    assert abs(after - before) > 0.5


def test_a_compiled_copy_paints_the_same_and_leaves_the_original(monkeypatch):
    runs = []
    monkeypatch.setattr(
        torch, "compile", lambda work: lambda *given: runs.append(1) or work(*given)
    )
    system = renderer(paste_back=False)
    compiled = system.compiling()
    expected = torch.cat(list(system.render(portrait(), motion(3))))
    assert runs == []
    assert torch.equal(torch.cat(list(compiled.render(portrait(), motion(3)))), expected)
    assert len(runs) == 3


def test_another_precision_is_refused():
    with pytest.raises(PayloadError, match="not in torch.float64"):
        renderer(torch.float64)


def test_absent_and_damaged_files_are_named(tmp_path):
    with pytest.raises(PayloadError, match="5 files are missing for 'liveportrait'"):
        load()
    for stem in set(FILES.values()):
        (tmp_path / f"{stem}.safetensors").write_bytes(b"not weights")
    with pytest.raises(PayloadError, match=r"'appearance_feature_extractor\.safetensors'"):
        load(folder=tmp_path)


def test_the_table_of_systems_leads_here():
    assert find_system("render", "liveportrait").loader.endswith("liveportrait.renderer:load")
    assert LivePortraitRenderer.space == "liveportrait"
    assert callable(load)
