import sys
from types import ModuleType

import pytest
import torch
from soliloquy.models.payloads import PayloadError
from soliloquy.training import perceptual_measures as measures
from torch import nn
from torch.nn import functional as F


def stripes(period=64, size=256):
    bright = ((torch.arange(size) // (period // 2)) % 2).float()
    return bright.expand(1, 3, size, size).clone()


def blurred(frames, times):
    for _ in range(times):
        frames = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return frames


def test_blur_is_noticed_the_more_the_wider_edges_are():
    sharp, soft = measures.cpbd(stripes()), measures.cpbd(blurred(stripes(), 1))
    softer = measures.cpbd(blurred(stripes(), 6))
    assert sharp == 1.0
    assert sharp >= soft > softer
    assert softer < 0.2


def test_the_width_of_an_edge_is_that_of_its_ramp():
    row = torch.cat([torch.zeros(20), torch.linspace(0, 200, 8)[1:-1], torch.full((20,), 200.0)])
    grey = row.expand(10, -1)
    rising = torch.zeros_like(grey)
    rising[5, 23] = 1
    found = measures.edge_widths(grey, rising, torch.tensor([5]), torch.tensor([23]))
    assert found.tolist() == [7.0]


def test_edges_are_found_where_brightness_changes_and_know_their_direction():
    edges = measures.upright_edges(stripes()[0, 0] * 255)
    assert edges.unique().tolist() == [-1, 0, 1]
    assert (edges[:, 2:28] == 0).all()
    assert (measures.upright_edges(torch.zeros(64, 64)) == 0).all()


def test_a_picture_without_edges_counts_as_blurred_and_a_tiny_one_is_refused():
    assert measures.cpbd(torch.zeros(2, 3, 64, 64)) == 0
    with pytest.raises(PayloadError, match="32×64 is too small"):
        measures.cpbd(torch.zeros(1, 3, 64, 32))


def test_the_distance_of_two_clouds_is_that_of_gaussians():
    random = torch.Generator().manual_seed(0)
    cloud = torch.randn(4000, 3, generator=random)
    assert measures.frechet_distance(cloud, cloud) == pytest.approx(0, abs=1e-9)
    assert measures.frechet_distance(cloud, cloud + 2) == pytest.approx(12)
    spread = cloud * torch.tensor([1.0, 2.0, 3.0])
    variances = torch.cov(cloud.T).diagonal()
    assert measures.frechet_distance(cloud, spread) == pytest.approx(
        float((variances * torch.tensor([0.0, 1.0, 4.0])).sum()), rel=0.05
    )


@pytest.mark.parametrize(
    ("name", "module"),
    [("lpips", "lpips"), ("fid", "pytorch_fid.inception"), ("csim", "facenet_pytorch")],
)
def test_what_is_absent_is_named(monkeypatch, tmp_path, name, module):
    frames = torch.rand(2, 3, 64, 64)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PayloadError, match=f"{name.upper()} needs the Python package"):
        getattr(measures, name)(frames, frames)
    monkeypatch.setitem(sys.modules, module, ModuleType(module))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(PayloadError, match=f"{name.upper()} needs .* which is not in"):
        getattr(measures, name)(frames, frames)


class Mean(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, one, other=None):
        seen = one.mean((2, 3))
        return seen if other is None else (seen - other.mean((2, 3))).square().sum(1)[:, None]


def test_libraries_are_given_what_they_expect(monkeypatch, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for file in (*measures.TRUNKS.values(), measures.INCEPTION, measures.FACENET):
        (tmp_path / "checkpoints" / file).write_bytes(b"")
    kept = {"weight": torch.ones(1), "logits.weight": torch.ones(2)}
    torch.save(kept, tmp_path / "checkpoints" / measures.FACENET)
    for module, name in (("lpips", "LPIPS"), ("facenet_pytorch", "InceptionResnetV1")):
        double = ModuleType(module)
        setattr(double, name, Mean)
        monkeypatch.setitem(sys.modules, module, double)
    frames = torch.rand(20, 3, 64, 64)
    assert measures.lpips(frames, frames) == 0
    assert measures.lpips(torch.zeros_like(frames), torch.ones_like(frames)) == pytest.approx(12)
    assert measures.csim(frames, frames) == pytest.approx(1)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """PyTorch's folder of weights, empty; whoever would download anything fails."""

    def refuse(url, *_, **__):
        raise AssertionError(f"{url} would be downloaded")

    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    torch.manual_seed(0)
    return tmp_path / "checkpoints"


def pictures(count=3, size=96, seed=0):
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=random)
    return F.interpolate(coarse, (size, size), mode="bilinear")


def test_lpips_with_random_weights_is_a_distance(hub):
    """Weights in the published layout, other numbers: what holds for all of them."""
    pytest.importorskip("lpips")
    alexnet = pytest.importorskip("torchvision").models.alexnet(weights=None)
    torch.save(alexnet.state_dict(), hub / measures.TRUNKS["alex"])
    one, other = pictures(), pictures(seed=1)
    assert measures.lpips(one, one) == 0
    near, far = (measures.lpips(one, torch.lerp(one, other, share)) for share in (0.2, 0.8))
    assert 0 < near < far
    assert measures.lpips(one, other) == pytest.approx(measures.lpips(other, one), rel=1e-5)


def test_fid_with_random_weights_tells_sets_apart(hub, monkeypatch):
    inception = pytest.importorskip("pytorch_fid.inception")
    with monkeypatch.context() as patched:  # the layout, before there are weights to load
        patched.setattr(inception, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(nn.Module, "load_state_dict", lambda *_: None)
        state = inception.fid_inception_v3().state_dict()
    for kernel in (value for value in state.values() if value.ndim == 4):
        kernel.normal_(0, (2 / kernel[0].numel()) ** 0.5)  # or nothing would come out at the end
    torch.save(state, hub / measures.INCEPTION)
    one, other = pictures(3), pictures(3, seed=1)
    near, far = (measures.fid(one, torch.lerp(one, other, share)) for share in (0.001, 1.0))
    assert 0 < near < 0.1 * far
    assert measures.fid(other, one) == pytest.approx(far, rel=1e-4)
    assert measures.fid(one, one.flip(0)) == pytest.approx(0, abs=1e-5 * far)


def test_csim_with_random_weights_is_one_for_the_same_face(hub):
    facenet = pytest.importorskip("facenet_pytorch")
    network = facenet.InceptionResnetV1(pretrained=None, classify=True, num_classes=8631)
    torch.save(network.state_dict(), hub / measures.FACENET)
    one, other = pictures(size=160), pictures(size=160, seed=1)
    assert measures.csim(one, one) == pytest.approx(1, abs=1e-4)
    near, far = (measures.csim(one, torch.lerp(one, other, share)) for share in (0.2, 1.0))
    assert 1 > near > far
