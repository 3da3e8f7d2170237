"""KSDiff's five ablations on a small model: trained alike, measured on voices never trained on.

    python -m soliloquy.training.ksdiff_ablations DATA TABLE.json --steps 400 --seeds 2

Every run that is in the table already is kept, so it can be stopped and taken up again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from ..models.keyframes.establish import SMOOTHING, peaks, speed
from ..models.motion.ksdiff import PATHS as BOTH_PATHS
from ..models.sampling import sample_ddim, trailing_timesteps
from . import measures
from .ksdiff import (
    WINDOW,
    Batch,
    Joint,
    KSDiffRecipe,
    Windows,
    build,
    ksdiff_loss,
    motion_of,
    schedule,
    speech_of,
    strength_of,
)
from .ksdiff_data import FRAME_RATE, Sessions, read_sessions
from .ksdiff_keyframes import APART, PATHS, deviations
from .loop import train
from .recipes import RECIPES, override

VARIANTS = ("ksdiff", *(name for name in RECIPES if name.startswith("ksdiff_without_")))
SMALL = [
    "speech.width=64",
    *(f"{path}.{size}" for path in ("expression", "pose", "both") for size in (
        "text=64", "width=64", "layers=2", "inner=128")),
    *(f"{path}.speech=64" for path in ("expression", "pose")),
    "both.speech=128",
    "expression.readout=false",
    "both.readout=false",
    "batch=8",
    "without_text=0.2",
]  # fmt: skip
HEARD = 48  # windows that are measured
STEPS = 8  # of diffusion


def recipe_for(name: str, data: Path, steps: int, seed: int) -> KSDiffRecipe:
    """The small version of a recipe."""
    config = override(RECIPES[name](), SMALL)
    assert isinstance(config, KSDiffRecipe)
    loop = replace(config.loop, steps=steps, learning_rate=2e-3, warmup=min(100, steps // 4))
    loop = replace(loop, average=0.98, log_every=100)
    return replace(config, data=data, loop=loop, seed=seed)


def run(recipe: KSDiffRecipe, sessions: Sessions, held_out: Sessions) -> dict[str, float]:
    """Train one small model and measure it."""
    torch.manual_seed(recipe.seed)
    network = build(recipe, sessions)
    windows = Windows(recipe, sessions)
    average = train(network, windows.batch, lambda n, b: ksdiff_loss(n, b, recipe), recipe.loop)
    usual = deviations(sessions)
    return measure(average, recipe, held_out, usual)


@torch.no_grad()
def measure(
    network: Joint, recipe: KSDiffRecipe, held_out: Sessions, usual: dict[str, Tensor]
) -> dict[str, float]:
    """Samples for windows of held-out voices, told true keyframes and transcripts."""
    told = replace(
        recipe,
        batch=HEARD,
        seed=12345,
        dropped_keyframes=0.0,
        moved_keyframes=0.0,
        without_keyframes=0.0,
        without_speech=0.0,
        without_text=0.0,
        from_rest=0.0,
    )
    batch = Windows(told, held_out, recipe.data / "held_out").batch(0)
    batch = replace(batch, known=torch.zeros_like(batch.known))
    torch.manual_seed(0)
    return compare(sample(network, batch), batch, usual)


def sample(network: Joint, batch: Batch) -> Tensor:
    """Motion `[B, T, 59]` for a batch, from the same noise for every model."""
    heard = network.speech(batch.features, batch.prosody, batch.text, batch.times)
    found = {}
    noise = torch.randn(len(batch.motion), WINDOW, 59)
    for name in network.motion.configs:
        path = network.motion.path(name)

        def denoise(noisy: Tensor, timestep: int, path: object = path, name: str = name) -> Tensor:
            return path(  # type: ignore[operator]
                noisy,
                torch.full((len(noisy),), timestep),
                speech_of(heard, name),
                strength_of(batch.strength, name),
                heard.text,
            )

        clean = sample_ddim(
            denoise, motion_of(noise, name), schedule(), steps=trailing_timesteps(STEPS)
        )
        found[name] = path.restore(clean)
    return found["both"] if "both" in found else torch.cat([found[p] for p in BOTH_PATHS], -1)


def compare(motion: Tensor, batch: Batch, usual: dict[str, Tensor]) -> dict[str, float]:
    """Lips and heads against the truth, and maxima of the speed against the keyframes."""
    lips, pitch, error = [], [], []
    pairs: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in PATHS}
    for clip, (guess, truth) in enumerate(zip(motion, batch.motion, strict=True)):
        weights = guess[:, :52].clamp(0, 1)
        lips.append(measures.lip_correlation(weights, truth[:, :52]))
        error.append(measures.lip_vertex_error(weights, truth[:, :52]))
        pitch.append(measures.pearson(guess[:, 52], truth[:, 52]))
        for index, (path, columns) in enumerate(PATHS.items()):
            pace = speed(guess[:, columns], usual[path], SMOOTHING[path] * FRAME_RATE)
            pairs[path].append((peaks(pace, APART)[0], batch.marks[clip, :, index] > 0))
    head = [measures.velocity_ratio(g[:, 52:55], t[:, 52:55]) for g, t in zip(
        motion, batch.motion, strict=True)]  # fmt: skip
    return {
        "lip aperture r": mean(a for a, _ in lips),
        "lip width r": mean(w for _, w in lips),
        "lip vertex error × 1000": 1000 * mean(error),
        "pitch r": mean(pitch),
        "head velocity ratio": float(np.median(head)),
        **{f"{p} keyframes F1 ±2": measures.keyframe_score(pairs[p], 2).f1 for p in PATHS},
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: means over seeds, and half the range where there are several."""
    names = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for variant in VARIANTS:
        found = [row for key, row in rows.items() if key.split(" ")[0] == variant]
        if not found:
            continue
        cells = [_cell([row[name] for row in found]) for name in names]
        label = variant.replace("ksdiff_", "").replace("_", " ")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    spread = (max(values) - min(values)) / 2
    return f"{mean(values):.3f}" + (f" ± {spread:.3f}" if len(values) > 1 else "")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.ksdiff_ablations", description=__doc__
    )
    parser.add_argument("data", type=Path, help="what `ksdiff_data` wrote")
    parser.add_argument("table", type=Path, help="JSON file for the results")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    rows = json.loads(given.table.read_text()) if given.table.exists() else {}
    sessions, held_out = (read_sessions(given.data / name) for name in ("train", "held_out"))
    for seed in range(given.seeds):
        for name in VARIANTS:
            if f"{name} {seed}" not in rows:
                recipe = recipe_for(name, given.data, given.steps, seed)
                rows[f"{name} {seed}"] = run(recipe, sessions, held_out)
                given.table.write_text(json.dumps(rows, indent=1))
                print(name, seed, rows[f"{name} {seed}"], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
