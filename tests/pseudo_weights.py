"""Numbers instead of published weights: a tensor per key, the same on every machine.

A value depends only on the network's tag, the key and the shape, so the golden numbers of
`tests/golden` can be reproduced without a weight file. NumPy keeps the streams of `RandomState`
for ever.
"""

import re
import zlib
from pathlib import Path

import numpy as np
import torch

CONSTANTS = ("num_batches_tracked", "rotary_emb.freqs", "freq_bands")
SPREAD = (  # (pattern of the key, mean, standard deviation)
    (r"running_mean$", 0.0, 0.05),
    (r"relative_attention_bias\.weight$", 0.0, 0.5),
    (r"grn\.(gamma|beta)$", 0.0, 0.1),
    (r"\.gamma$", 1.0, 0.1),
    (r"(\.beta|bias)$", 0.0, 0.05),
)


def shapes(key_list: Path) -> dict[str, tuple[int, ...]]:
    """Key → shape of a list of keys as `shared/design/keys` has them, key constants left out."""
    lines = [line.split("\t") for line in key_list.read_text().splitlines() if line[:1] != "#"]
    found = {key: tuple(int(n) for n in re.findall(r"\d+", shape)) for key, shape, *_ in lines}
    return {key: shape for key, shape in found.items() if not key.endswith(CONSTANTS)}


def state_dict(sizes: dict[str, tuple[int, ...]], tag: str) -> dict[str, torch.Tensor]:
    """The pseudo-weights of a network."""
    state = {key: weight(key, size, tag) for key, size in sizes.items()}
    for key in [key for key in state if key.endswith("weight_orig")]:
        stem = key.removesuffix("weight_orig")
        u, v = singular_vectors(state[key], state[f"{stem}weight_u"])
        state[f"{stem}weight_u"], state[f"{stem}weight_v"] = u, v
    return {key: torch.from_numpy(value) for key, value in state.items()}


def weight(key: str, shape: tuple[int, ...], tag: str) -> np.ndarray:
    normal = stream(f"{tag}/{key}").standard_normal(shape).astype(np.float32)
    for pattern, mean, deviation in SPREAD:
        if re.search(pattern, key):
            scaled = deviation * normal
            return (mean + scaled if mean else scaled).astype(np.float32)
    if key.endswith("running_var"):
        return (1.0 + 0.2 * np.abs(normal)).astype(np.float32)
    if key.endswith(("weight_u", "weight_v")):
        return (normal / np.linalg.norm(normal)).astype(np.float32)
    if len(shape) == 1:
        return (1.0 + 0.1 * normal).astype(np.float32)
    return (normal * np.float32(1.0 / np.sqrt(int(np.prod(shape[1:]))))).astype(np.float32)


def singular_vectors(matrix: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What spectral norm stores: five power iterations in double precision."""
    matrix, u = matrix.reshape(len(matrix), -1).astype(np.float64), u.astype(np.float64)
    for _ in range(5):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u.astype(np.float32), v.astype(np.float32)


def given(name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    """A network's input of this name."""
    normal = stream(f"input:{name}").standard_normal(shape)
    return torch.from_numpy((normal * scale).astype(np.float32))


def picture(size: int = 256) -> torch.Tensor:
    """A smooth picture in 0 … 1, `[1, 3, size, size]`."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64) / size
    turn = 2 * np.pi
    planes = [
        0.5
        + 0.25 * np.sin(turn * ((k + 1) * x + (3 - k) * y))
        + 0.25 * np.cos(turn * (2 * x - (k + 1) * y))
        for k in range(3)
    ]
    return torch.from_numpy(np.clip(np.stack(planes), 0, 1).astype(np.float32)[None])


def stream(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)


def relative_error(given: torch.Tensor, wanted: np.ndarray) -> float:
    """Largest difference, as a share of the wanted output's largest magnitude."""
    wanted_tensor = torch.from_numpy(np.asarray(wanted))
    return float((given.double() - wanted_tensor.double()).abs().max() / wanted_tensor.abs().max())
