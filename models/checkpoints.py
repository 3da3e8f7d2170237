"""The one place that opens weight files: read → recognise → rename keys → build → strict load.

Accepts safetensors, and PyTorch files that hold nothing but tensors (`weights_only=True`). A file
that needs more is refused with the command that converts it; nothing in it is executed, and a
network is never half loaded. What each published layout looks like stands in `formats.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from . import formats
from .payloads import PayloadError

StateDict = dict[str, Tensor]
CONVERT_HINT = "Convert it once with `python -m soliloquy weights convert FILE`."


class CheckpointError(PayloadError):
    """A weight file cannot be used; the message names it, what it seems to be and what to do."""


def load(
    name: str,
    source: str | Path | Mapping[str, Tensor],
    operations: ModuleType | Any = nn,
    *,
    config: Mapping[str, Any] | None = None,
) -> Any:  # the class depends on the row
    """The network called `name` with the weights of `source`, in eval mode on the CPU.

    Args:
        name: a row of `formats.FORMATS`: "starter_speech", "kdtalker", "liveportrait/appearance", …
        source: a path, or a state dict with the key names of the published file.
        operations: namespace the layers come from; the host passes its casting one.
        config: what a configuration file beside the weights says, for networks that have one.

    Raises:
        CheckpointError: unknown name, unreadable file, another network's file, missing, unexpected
        or wrong keys.
    """
    layout = formats.find_format(name)
    label = "the given state dict" if isinstance(source, Mapping) else f"'{Path(source).name}'"
    state, metadata = (dict(source), {}) if isinstance(source, Mapping) else read(source)
    if config is not None:
        metadata = {**metadata, "config": json.dumps(dict(config))}
    state = unwrap(state, layout)
    absent = [key for key in layout.markers if key not in state]
    if absent:
        raise CheckpointError(
            f"{label} is not a {layout.title} file: it lacks {_first(absent)}. {_looks_like(state)}"
        )
    converted = rename(layout.prepared(state), layout, label)
    with torch.device("meta"):  # no random initialisation and no second copy in memory
        network = layout.builder()(converted, metadata, operations)
    _check_fit(network.state_dict(), converted, f"{label} ({layout.title})")
    network.load_state_dict(converted, assign=True)
    return network.eval().requires_grad_(False)


def read(path: str | Path) -> tuple[StateDict, dict[str, str]]:
    """Tensors and metadata of a weight file.

    Raises:
        CheckpointError: absent, truncated, not a weight file, or a pickle that holds more than
        tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no weight file '{path}'.")
    try:
        if path.suffix in (".safetensors", ".sft"):
            return _read_safetensors(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True)), {}
    except Exception as error:  # every reader has its own family of exceptions
        reason = str(error).strip().split("\n")[0][:120]
        raise CheckpointError(
            f"'{path.name}' cannot be read as weights ({reason}). It is truncated, or holds more"
            f" than tensors, which is refused unopened. Download it again, or: {CONVERT_HINT}"
        ) from None


def _read_safetensors(path: Path) -> tuple[StateDict, dict[str, str]]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def metadata_of(path: str | Path) -> dict[str, str]:
    """What stands in a weight file beside its tensors, read without them; empty for PyTorch files.

    Raises:
        CheckpointError: absent, or not a weight file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.suffix not in (".safetensors", ".sft"):
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return read(path)[1]  # which says what is wrong


def save(network: nn.Module, path: str | Path, config: Mapping[str, Any], **metadata: str) -> None:
    """Write our own weights: safetensors in half precision, with the configuration as JSON."""
    from safetensors.torch import save_file

    state = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in network.state_dict().items()
    }
    save_file(state, str(path), metadata={"config": json.dumps(dict(config)), **metadata})


def config_of(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The configuration that `save` wrote; empty for other people's files."""
    return json.loads(metadata.get("config", "{}"))


def unwrap(state: Mapping[str, Any], layout: formats.Format) -> StateDict:
    """The tensors themselves, out of wrappers such as `{"state_dict": …}` and key prefixes."""
    for key in layout.wrappers:
        if isinstance(state.get(key), Mapping):
            state = state[key]
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    for prefix in layout.prefixes:
        if any(key.startswith(prefix) for key in tensors):
            tensors = {
                key.removeprefix(prefix): value
                for key, value in tensors.items()
                if key.startswith(prefix)
            }
    return tensors


def rename(state: StateDict, layout: formats.Format, label: str) -> StateDict:
    """Upstream's keys in our names; a rule of the format without a replacement drops the key."""
    renamed: StateDict = {}
    for key, value in state.items():
        target = _renamed(key, layout.rename)
        if target is None:
            continue
        if target in renamed:
            raise CheckpointError(f"{label}: two keys become '{target}', the second is '{key}'.")
        # Weights are stored in half precision; computing in it is the caller's decision.
        renamed[target] = value.float() if value.is_floating_point() else value
    return renamed


def _renamed(key: str, rules: tuple[tuple[str, str | None], ...]) -> str | None:
    for pattern, replacement in rules:
        if replacement is not None:
            key = re.sub(pattern, replacement, key)
        elif re.search(pattern, key):
            return None
    return key


def _check_fit(network: Mapping[str, Tensor], file: StateDict, label: str) -> None:
    missing = [key for key in network if key not in file]
    unexpected = [key for key in file if key not in network]
    shapes = [
        f"{key}: file {tuple(file[key].shape)}, network {tuple(network[key].shape)}"
        for key in network
        if key in file and file[key].shape != network[key].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    found = [f"{len(keys)} {what}: {_first(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise CheckpointError(f"{label} does not fit its network. {'; '.join(found)}.")


def _looks_like(state: Mapping[str, Tensor]) -> str:
    """One sentence on what a state dict seems to be instead."""
    for layout in formats.FORMATS:
        tensors = unwrap(state, layout)
        if layout.markers and all(key in tensors for key in layout.markers):
            return f"It seems to be {layout.title}."
    first = next(iter(state), "none")
    return f"It holds {len(state)} tensors, the first is '{first}', of no known layout."


def _first(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
