"""PyTorch files that hold more than tensors, made into safetensors; nothing in them is run.

A `.pth` is a pickle: a program that may name any function of any package and call it. Here it gets
to call nothing. Of all names it can give, those of tensors are answered with our own descriptions
of them; every other one becomes an inert stand-in, and nothing is imported on a file's behalf.
"""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .models import checkpoints, formats
from .models.checkpoints import CheckpointError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file by PyTorch before 1.6
GENERIC_WRAPPERS = {"state_dict", "model"}  # say nothing about which network is inside
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What `convert` did."""

    output: Path
    titles: tuple[str, ...]  # of the formats found
    num_tensors: int
    num_left_out: int  # tensors of other networks, of an optimiser, …
    inert: tuple[str, ...]  # names in the file that were not answered


@dataclass(frozen=True, kw_only=True)
class Storage:
    """Where in the file a run of numbers lies."""

    dtype: torch.dtype
    key: str
    count: int

    @property
    def num_bytes(self) -> int:
        """Its length in the file."""
        return self.count * self.dtype.itemsize


@dataclass(eq=False)
class Contents:
    """What a file describes: objects in which every tensor is an empty one on the meta device."""

    root: Any = None
    storages: dict[int, tuple[Storage, int]] = field(default_factory=dict)  # by id of the tensor
    seen: dict[str, Storage] = field(default_factory=dict)  # all of them, by key
    starts: dict[str, int] = field(default_factory=dict)  # storage key → first byte in the file
    tensors: list[Tensor] = field(default_factory=list)  # keeps the ids above valid
    inert: set[str] = field(default_factory=set)

    def describe(self, storage: Storage, offset: int, size: tuple, stride: tuple) -> Tensor:
        """A tensor without numbers that remembers where they are."""
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        negative = min((offset, *size, *stride), default=0) < 0
        elements = 1
        for n in size:
            elements *= n
        if negative or (elements and last >= storage.count) or elements > storage.count:
            raise pickle.UnpicklingError("a tensor reaches beyond its numbers")
        tensor = torch.empty_strided(size, stride, dtype=storage.dtype, device="meta")
        self.tensors.append(tensor)
        self.storages[id(tensor)] = (storage, offset)
        return tensor

    def read(self, tensor: Tensor, file: BufferedReader) -> Tensor:
        """The tensor with its numbers."""
        storage, offset = self.storages[id(tensor)]
        file.seek(self.starts[storage.key])
        numbers = torch.empty(storage.count, dtype=storage.dtype)
        if file.readinto(numbers.view(torch.uint8).numpy()) != storage.num_bytes:
            raise EOFError("the file ends within a tensor")
        view = numbers.as_strided(tensor.shape, tensor.stride(), offset)
        return view.clone(memory_format=torch.contiguous_format)


class Inert:
    """Stands for a class that is not ours to run: takes anything, does nothing, keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """An empty object, whatever is given."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Inert:
        """Called, it stays what it is."""
        return self

    def ignore(self, *_: Any, **__: Any) -> None:
        """Every way in which a pickle can change an object."""

    __setstate__ = __setitem__ = append = extend = add = update = ignore


class Ordered(dict):
    """An ordered dictionary whose attributes a file cannot set."""

    def __setstate__(self, *_: Any) -> None:
        pass


class Rebuild:
    """Answers PyTorch's functions that rebuild tensors."""

    __slots__ = ("_contents",)

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def __setstate__(self, *_: Any) -> None:
        pass

    def __call__(
        self, value: Any, offset: Any = 0, size: Any = (), stride: Any = (), *_: Any
    ) -> Any:
        """A description of the tensor; `value` is a storage, or a tensor to be made a parameter."""
        if isinstance(value, Tensor):
            return value
        if not isinstance(value, Storage):
            return Inert()
        return self._contents.describe(value, offset, tuple(size), tuple(stride))


class RestrictedUnpickler(pickle.Unpickler):
    """Reads containers, numbers, strings and descriptions of tensors; imports and calls nothing."""

    def __init__(self, file: BinaryIO, contents: Contents) -> None:
        super().__init__(file, encoding="utf-8")
        self.contents = contents
        self.stand_ins: dict[str, type] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Our answer to a name in the file; never the thing itself."""
        if module.split(".")[0] == "torch" and name in DTYPES:
            return self._stand_in(name, DTYPES[name])
        if module == "torch._utils" and name in {
            "_rebuild_tensor",
            "_rebuild_tensor_v2",
            "_rebuild_parameter",
            "_rebuild_parameter_with_state",
        }:
            return Rebuild(self.contents)
        if (module, name) == ("collections", "OrderedDict"):
            return type("Ordered", (Ordered,), {})  # a new one each, so that nothing is shared
        self.contents.inert.add(f"{module}.{name}")
        return self._stand_in(f"{module}.{name}", None)

    def _stand_in(self, name: str, dtype: torch.dtype | None) -> type:
        if name not in self.stand_ins:
            self.stand_ins[name] = type("StandIn", (Inert,), {"dtype": dtype})
        return self.stand_ins[name]

    def persistent_load(self, saved_id: Any) -> Storage:
        """The run of numbers that a saved id means."""
        _, kind, key, _, count = saved_id[:5]
        dtype = getattr(kind, "dtype", None)
        if saved_id[0] != "storage" or not isinstance(dtype, torch.dtype) or count < 0:
            raise pickle.UnpicklingError("a kind of tensor that is not known here")
        if len(saved_id) > 5 and saved_id[5] is not None:
            raise pickle.UnpicklingError("tensors that share parts of one another")
        storage = Storage(dtype=dtype, key=str(key), count=int(count))
        if self.contents.seen.setdefault(storage.key, storage) != storage:
            raise pickle.UnpicklingError("numbers of two kinds in one place")
        return storage


def convert(path: str | Path, output: str | Path | None = None) -> Conversion:
    """Write the tensors of every known network in a PyTorch file as safetensors.

    Args:
        path: a `.pth`, `.pt` or `.ckpt`, from PyTorch 0.4 or later.
        output: the file to write, beside the first one by default; never overwritten.

    Raises:
        CheckpointError: absent, safe already, truncated, not a PyTorch file, or of no known layout.
    """
    from safetensors.torch import save_file

    path = Path(path)
    output = Path(output) if output else path.with_suffix(".safetensors")
    _check_paths(path, output)
    with path.open("rb") as file:
        try:
            contents = describe(file)
            chosen, titles = _choose(contents, path)
            state = {key: contents.read(tensor, file) for key, tensor in chosen.items()}
        except CheckpointError:
            raise
        except Exception as error:  # a damaged pickle can raise anything
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise CheckpointError(
                f"'{path.name}' cannot be converted ({reason}). It is truncated or not a PyTorch"
                " file. Download it again."
            ) from None
    part = output.with_name(f".{output.name}.part")
    try:
        save_file(state, str(part), metadata={"format": "pt", "source": path.name})
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)
    return Conversion(
        output=output,
        titles=titles,
        num_tensors=len(state),
        num_left_out=len(contents.tensors) - len(state),
        inert=tuple(sorted(contents.inert)),
    )


def _check_paths(path: Path, output: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"There is no weight file '{path}'.")
    if path.suffix in (".safetensors", ".sft"):
        raise CheckpointError(f"'{path.name}' is safetensors already; there is nothing to convert.")
    if output.suffix != ".safetensors":
        raise CheckpointError(f"The name '{output.name}' must end in .safetensors.")
    if output.exists():
        raise CheckpointError(f"'{output}' exists already. Name another file with -o.")


def describe(file: BinaryIO) -> Contents:
    """Everything in a PyTorch file except the numbers.

    Raises:
        Exception: of any kind, where the file is damaged.
    """
    contents = Contents()
    if zipfile.is_zipfile(file):
        _describe_zip(file, contents)
    else:
        file.seek(0)
        _describe_legacy(file, contents)
    return contents


def _describe_zip(file: BinaryIO, contents: Contents) -> None:
    """A file of PyTorch 1.6 or later: a pickle and one uncompressed entry per run of numbers."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickled = next((name for name in entries if name.endswith("data.pkl")), None)
        if pickled is None:
            raise ValueError("a zip file without weights")
        prefix = pickled.removesuffix("data.pkl")
        order = entries.get(f"{prefix}byteorder")
        if entries[pickled].compress_type != zipfile.ZIP_STORED:
            raise ValueError("compressed, which PyTorch does not do")
        if order and archive.read(order) != b"little":
            raise ValueError("numbers in big-endian order")
        with archive.open(pickled) as stream:
            contents.root = RestrictedUnpickler(stream, contents).load()
    for storage in contents.seen.values():
        entry = entries[f"{prefix}data/{storage.key}"]
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < storage.num_bytes:
            raise EOFError("the numbers of a tensor are incomplete")
        contents.starts[storage.key] = _start_of(entry, file)


def _start_of(entry: zipfile.ZipInfo, file: BinaryIO) -> int:
    """Where the bytes of an entry begin: behind its header, a name and padding."""
    file.seek(entry.header_offset)
    header = file.read(30)
    name, extra = struct.unpack("<HH", header[26:30])
    return entry.header_offset + len(header) + name + extra


def _describe_legacy(file: BinaryIO, contents: Contents) -> None:
    """An older file: five pickles in a row, then the numbers."""
    if RestrictedUnpickler(file, contents).load() != LEGACY_MAGIC:
        raise ValueError("not written by PyTorch")
    for _ in ("protocol version", "system information"):
        RestrictedUnpickler(file, contents).load()
    contents.root = RestrictedUnpickler(file, contents).load()
    keys = RestrictedUnpickler(file, contents).load()
    known = contents.seen
    for key in map(str, keys):
        (count,) = struct.unpack("<q", file.read(8))
        contents.starts[key] = file.tell()
        if key not in known or known[key].count != count:
            raise ValueError("numbers that belong to no tensor")
        file.seek(known[key].num_bytes, os.SEEK_CUR)


def _choose(contents: Contents, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of every known format under upstream's names, and the formats' titles."""
    root = contents.root
    if not isinstance(root, Mapping):
        raise CheckpointError(f"'{path.name}' holds no dictionary of weights.")
    chosen: dict[str, Tensor] = {}
    titles = []
    for layout in formats.FORMATS:
        tensors = checkpoints.unwrap(root, layout)
        if not layout.markers or any(key not in tensors for key in layout.markers):
            continue
        titles.append(layout.title)
        chosen |= _upstream_names(root, layout, tensors)
    if not chosen:
        names = [key for key in root if isinstance(key, str)][:3]
        raise CheckpointError(
            f"'{path.name}' is of no known layout; its first keys are {', '.join(names) or 'none'}."
            f" Known: {', '.join(row.title for row in formats.FORMATS)}."
        )
    return chosen, tuple(titles)


def _upstream_names(
    root: Mapping[str, Any], layout: formats.Format, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The same tensors under the names they have in the file.

    Where a dictionary around them tells several networks of one file apart, its name goes in front,
    as in the safetensors that ComfyUI users have: `retarget_eye_module.mlp.0.weight`.
    """
    specific, level = "", root
    for key in layout.wrappers:
        if isinstance(level.get(key), Mapping):
            level = level[key]
            specific = specific if key in GENERIC_WRAPPERS else f"{key}_module."
    wanted = {id(tensor) for tensor in tensors.values()}
    return {
        specific + (key.removeprefix("module.") if specific else key): tensor
        for key, tensor in level.items()
        if isinstance(tensor, Tensor) and id(tensor) in wanted
    }
