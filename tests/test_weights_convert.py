"""PyTorch files become safetensors, and whatever program they carry is never run."""

import io
import itertools
import os
import pickle
import struct
import sys
import types
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from soliloquy.models import checkpoints, formats
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.formats import Format
from soliloquy.weights_convert import convert

TOYS = (
    Format(name="toy", title="Toy", build="unused:unused", markers=("out.weight",)),
    Format(
        name="eye",
        title="Toy eye",
        build="unused:unused",
        wrappers=("state_dict", "model", "retarget_eye"),
        markers=("mlp.0.weight",),
    ),
    Format(
        name="lip",
        title="Toy lip",
        build="unused:unused",
        wrappers=("state_dict", "model", "retarget_lip"),
        markers=("mlp.0.weight",),
    ),
)


PUBLISHED = formats.FORMATS


@pytest.fixture(autouse=True)
def toy_formats(monkeypatch):
    monkeypatch.setattr(formats, "FORMATS", TOYS)


@pytest.fixture
def omegaconf(monkeypatch):
    """A package whose classes end up in a file, and which is gone when the file is read."""
    module = types.ModuleType("omegaconf_like")

    class DictConfig:
        def __init__(self):
            self.content = {"lr": 1e-4}

        def __setstate__(self, state):
            raise AssertionError("executed")

    DictConfig.__module__, DictConfig.__qualname__ = "omegaconf_like", "DictConfig"
    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf_like", module)
    return DictConfig


class Bomb:
    """Writes a file when it is unpickled by anything that trusts it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def weights(**more):
    torch.manual_seed(0)
    return {
        "module.out.weight": torch.randn(3, 4),
        "module.out.bias": torch.randn(3).half(),
        "module.steps": torch.tensor(7),
        "module.turned": torch.arange(6.0).view(2, 3).T,
        "module.part": torch.arange(10)[4:8],
        **more,
    }


def same(path, expected):
    state = load_file(path)
    assert state.keys() == expected.keys()
    for key, value in expected.items():
        assert state[key].dtype == value.dtype
        assert torch.equal(state[key], value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
class TestContainers:
    def save(self, value, path, zipped):
        torch.save(value, path, _use_new_zipfile_serialization=zipped)
        return path

    def test_a_safe_file_keeps_its_numbers_and_names(self, tmp_path, zipped):
        path = self.save({"model": weights(), "epoch": 3}, tmp_path / "a.pth", zipped)
        done = convert(path)
        assert done.output == tmp_path / "a.safetensors"
        assert (done.titles, done.num_tensors, done.num_left_out) == (("Toy",), 5, 0)
        same(done.output, weights())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth", "a.safetensors"]

    def test_an_unknown_class_is_left_closed(self, tmp_path, zipped, omegaconf, monkeypatch):
        adam = {"state": {0: {"exp_avg": torch.zeros(3)}}}
        value = {"model": weights(), "cfg": omegaconf(), "optimizer": adam}
        path = self.save(value, tmp_path / "a.pth", zipped)
        monkeypatch.delitem(sys.modules, "omegaconf_like")
        with pytest.raises(CheckpointError, match="weights convert"):
            checkpoints.read(path)
        done = convert(path, tmp_path / "b.safetensors")
        assert done.inert == ("omegaconf_like.DictConfig",)
        assert done.num_left_out == 1
        same(done.output, weights())

    def test_code_in_a_file_is_not_executed(self, tmp_path, zipped):
        bomb = tmp_path / "executed"
        path = self.save({"model": weights(), "cfg": Bomb(bomb)}, tmp_path / "a.pth", zipped)
        done = convert(path)
        assert not bomb.exists()
        assert done.inert == (f"{os.mkdir.__module__}.mkdir",)
        same(done.output, weights())

    def test_parameters_and_shared_numbers_are_written_apart(self, tmp_path, zipped):
        shared = torch.randn(4)
        state = {"out.weight": torch.nn.Parameter(torch.ones(2)), "x": shared, "y": shared[1:3]}
        done = convert(self.save(state, tmp_path / "a.pth", zipped))
        same(done.output, {key: value.detach() for key, value in state.items()})

    @pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
    def test_a_truncated_file_is_refused_and_nothing_written(self, tmp_path, zipped, share):
        path = self.save({"model": weights()}, tmp_path / "a.pth", zipped)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(CheckpointError, match=r"cannot be converted .* truncated"):
            convert(path)
        assert list(tmp_path.iterdir()) == [path]


def test_several_networks_in_one_file_get_their_names_in_front(tmp_path):
    state = {"mlp.0.weight": torch.ones(2)}
    lip = {f"module.{key}": 2 * value for key, value in state.items()}
    torch.save({"retarget_eye": state, "retarget_lip": lip}, tmp_path / "a.pth")
    done = convert(tmp_path / "a.pth")
    assert done.titles == ("Toy eye", "Toy lip")
    same(
        done.output,
        {
            "retarget_eye_module.mlp.0.weight": torch.ones(2),
            "retarget_lip_module.mlp.0.weight": 2 * torch.ones(2),
        },
    )


def test_the_published_stitching_file_loads_before_and_after(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "FORMATS", PUBLISHED)
    sizes = {
        "shoulder": (126, 128, 128, 64, 65),
        "mouth": (65, 128, 128, 64, 63),
        "eye": (66, 256, 256, 128, 128, 64, 63),
    }
    content = {
        f"retarget_{name}": {
            f"module.mlp.{2 * i}.{kind}": torch.randn(after, before)[
                :, 0 if kind == "bias" else ...
            ]
            for i, (before, after) in enumerate(itertools.pairwise(widths))
            for kind in ("weight", "bias")
        }
        for name, widths in sizes.items()
    }
    torch.save(content, tmp_path / "a.pth")
    done = convert(tmp_path / "a.pth")
    assert done.num_tensors == 28
    for name in ("stitching", "retarget_lip", "retarget_eye"):
        before = checkpoints.load(f"liveportrait/{name}", tmp_path / "a.pth").state_dict()
        after = checkpoints.load(f"liveportrait/{name}", done.output).state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_bare_pickle_with_code_is_refused_unexecuted(tmp_path):
    bomb = tmp_path / "executed"
    (tmp_path / "a.pth").write_bytes(pickle.dumps(Bomb(bomb)))
    with pytest.raises(CheckpointError, match="not written by PyTorch"):
        convert(tmp_path / "a.pth")
    assert not bomb.exists()


def archive(path, pickled, numbers=b"\0" * 16):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", pickled)
        file.writestr("a/data/0", numbers)
    return path


class Raw(pickle.Pickler):
    """Writes a tensor as PyTorch does, with any offset, size and steps."""

    def persistent_id(self, value):
        return value[1:] if isinstance(value, tuple) and value[:1] == ("stored",) else None


class Tensor:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        stored = ("stored", "storage", torch.FloatStorage, "0", "cpu", 4)
        return torch._utils._rebuild_tensor_v2, (stored, *self.arguments, False, None)


@pytest.mark.parametrize(
    "layout",
    [(1, (4,), (1,)), (-1, (1,), (1,)), (0, (2,), (9,)), (0, (2**40,), (0,)), (0, (2,), (-1,))],
    ids=["offset", "negative", "step", "huge", "backwards"],
)
def test_a_tensor_that_reaches_beyond_its_numbers_is_refused(tmp_path, layout):
    stream = io.BytesIO()
    Raw(stream).dump({"out.weight": Tensor(*layout)})
    with pytest.raises(CheckpointError, match="reaches beyond its numbers"):
        convert(archive(tmp_path / "a.pth", stream.getvalue()))


def test_numbers_of_a_handmade_file_are_read(tmp_path):
    stream = io.BytesIO()
    Raw(stream).dump({"out.weight": Tensor(1, (2,), (2,))})
    numbers = torch.arange(4.0).numpy().tobytes()
    done = convert(archive(tmp_path / "a.pth", stream.getvalue(), numbers))
    same(done.output, {"out.weight": torch.tensor([1.0, 3.0])})


def test_a_file_cannot_change_what_it_is_read_with(tmp_path):
    """BUILD on names, attributes on dictionaries, items on stand-ins: all without effect."""
    text = lambda value: b"X" + struct.pack("<I", len(value)) + value  # noqa: E731
    build = lambda name: b"}" + text(name) + b"K\x01sb"  # noqa: E731
    program = b"\x80\x02}("
    program += text(b"a") + b"cbuiltins\nexec\n" + build(b"dtype")
    program += text(b"b") + b"ctorch._utils\n_rebuild_tensor_v2\n" + build(b"__call__")
    program += text(b"c") + b"ccollections\nOrderedDict\n" + build(b"keys")
    program += text(b"d") + b"cbuiltins\neval\n(" + text(b"1/0") + b"tR" + build(b"x")
    program += b"u."
    with pytest.raises(CheckpointError, match="no known layout; its first keys are a, b, c"):
        convert(archive(tmp_path / "a.pth", program))
    torch.save({"model": weights()}, tmp_path / "b.pth")
    same(convert(tmp_path / "b.pth").output, weights())


def test_what_cannot_be_converted_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="There is no weight file"):
        convert(tmp_path / "absent.pth")
    safe = tmp_path / "safe.safetensors"
    safe.touch()
    with pytest.raises(CheckpointError, match="is safetensors already"):
        convert(safe)
    torch.save({"other.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"first keys are other.weight. Known: Toy"):
        convert(tmp_path / "other.pth")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no dictionary"):
        convert(tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="exists already"):
        convert(tmp_path / "other.pth", safe)
    with pytest.raises(CheckpointError, match="must end in .safetensors"):
        convert(tmp_path / "other.pth", tmp_path / "other.bin")


def test_empty_tensors_and_every_kind_of_number_are_kept(tmp_path):
    kinds = (torch.float64, torch.bfloat16, torch.int32, torch.uint8, torch.bool)
    state = {f"x{i}": torch.ones(2, 3).to(kind) for i, kind in enumerate(kinds)}
    state |= {"out.weight": torch.empty(0, 3), "one": torch.tensor(1.5)}
    torch.save(state, tmp_path / "a.pth")
    same(convert(tmp_path / "a.pth").output, state)
