"""Weight files are recognised, loaded strictly, or refused with a sentence and nothing executed."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from soliloquy.models import checkpoints, formats
from soliloquy.models.checkpoints import CheckpointError
from soliloquy.models.formats import Format
from soliloquy.models.payloads import PayloadError
from torch import nn


def build(state, metadata, operations=nn):
    """A network whose size stands in its weights."""
    outputs, inputs = state["head.weight"].shape
    return (
        nn.Sequential().append(nn.Identity()) if inputs == 0 else Toy(inputs, outputs, operations)
    )


class Toy(nn.Module):
    def __init__(self, inputs, outputs, operations):
        super().__init__()
        self.head = operations.Linear(inputs, outputs)


@pytest.fixture
def toy_format(monkeypatch):
    row = Format(
        name="toy",
        title="Toy network",
        build="unused:unused",
        markers=("out.weight",),
        rename=((r"^out\.", "head."), (r"^dead\.", None)),
    )
    monkeypatch.setattr(formats, "FORMATS", (*formats.FORMATS, row))
    monkeypatch.setattr(Format, "builder", lambda self: build)
    return row


def upstream(**extra):
    return {"out.weight": torch.randn(4, 3), "out.bias": torch.randn(4), **extra}


@pytest.mark.usefixtures("toy_format")
class TestLoad:
    def test_upstream_keys_are_renamed_and_dead_ones_dropped(self):
        state = upstream(**{"dead.weight": torch.zeros(1)})
        network = checkpoints.load("toy", state)
        assert torch.equal(network.head.weight, state["out.weight"])
        assert not network.training
        assert not network.head.weight.requires_grad

    def test_wrappers_prefixes_and_half_precision_are_undone(self):
        wrapped = {
            "state_dict": {f"module.{k}": v.half() for k, v in upstream().items()},
            "epoch": 3,
        }
        assert checkpoints.load("toy", wrapped).head.weight.dtype == torch.float32

    def test_files_of_both_kinds_load(self, tmp_path):
        state = upstream()
        save_file(state, tmp_path / "toy.safetensors")
        torch.save({"model": state}, tmp_path / "toy.pth")
        for file in ("toy.safetensors", "toy.pth"):
            assert torch.equal(
                checkpoints.load("toy", tmp_path / file).head.bias, state["out.bias"]
            )

    def test_missing_unexpected_and_misshapen_keys_are_named(self):
        with pytest.raises(CheckpointError, match=r"Toy network.* 1 missing: head\.bias"):
            checkpoints.load("toy", {"out.weight": torch.zeros(4, 3)})
        with pytest.raises(CheckpointError, match=r"1 unexpected: zz"):
            checkpoints.load("toy", upstream(zz=torch.zeros(1)))
        with pytest.raises(CheckpointError, match=r"file \(5,\), network \(4,\)"):
            checkpoints.load("toy", {**upstream(), "out.bias": torch.zeros(5)})

    def test_another_networks_file_is_recognised(self):
        with pytest.raises(
            CheckpointError, match=r"not a Soliloquy starter motion.*It seems to be Toy"
        ):
            checkpoints.load("starter_motion", upstream())

    def test_two_keys_that_become_one_are_refused(self):
        with pytest.raises(CheckpointError, match="two keys become 'head.bias'"):
            checkpoints.load("toy", upstream(**{"head.bias": torch.zeros(4)}))


class Payload:
    executed = False

    def __reduce__(self):
        return (setattr, (Payload, "executed", True))


def test_a_pickle_with_code_is_refused_and_not_executed(tmp_path):
    for name in ("evil.pth", "evil.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"stem.weight": Payload()}))
        with pytest.raises(CheckpointError, match="refused unopened"):
            checkpoints.load("starter_speech", tmp_path / name)
    torch.save({"stem.weight": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(CheckpointError, match="weights convert"):
        checkpoints.load("starter_speech", tmp_path / "evil.pt")
    assert not Payload.executed


def test_truncated_and_absent_files_are_refused(tmp_path):
    whole = tmp_path / "whole.safetensors"
    save_file({"stem.weight": torch.zeros(64, 64)}, whole)
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[:4000])
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("half.safetensors", "empty.pth"):
        with pytest.raises(CheckpointError, match=f"'{name}' cannot be read"):
            checkpoints.load("starter_speech", tmp_path / name)
    with pytest.raises(CheckpointError, match="no weight file"):
        checkpoints.load("starter_speech", tmp_path / "absent.pth")


def test_save_keeps_configuration_and_halves_precision(tmp_path):
    network = nn.Linear(3, 2)
    checkpoints.save(network, tmp_path / "own.safetensors", {"width": 3}, trained_by="a test")
    state, metadata = checkpoints.read(tmp_path / "own.safetensors")
    assert checkpoints.config_of(metadata) == {"width": 3}
    assert state["weight"].dtype == torch.float16
    assert checkpoints.config_of({}) == {}


def test_metadata_is_read_without_the_tensors(tmp_path):
    made = tmp_path / "small.safetensors"
    checkpoints.save(nn.Linear(2, 3), made, {"width": 3}, recipe="by hand")
    assert checkpoints.config_of(checkpoints.metadata_of(made)) == {"width": 3}
    assert checkpoints.metadata_of(tmp_path / "published.pth") == {}
    for absent in ("absent.safetensors", "torn.safetensors"):
        (tmp_path / "torn.safetensors").write_bytes(made.read_bytes()[:20])
        with pytest.raises(CheckpointError):
            checkpoints.metadata_of(tmp_path / absent)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(PayloadError, match="starter_speech"):
        checkpoints.load("nonsense", {})
