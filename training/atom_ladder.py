"""Table 2 of MoDiTalker (Kim et al. 2024) on our small AToM: what each of its ideas is worth.

    python -m soliloquy.training.atom_ladder DATA FOLDER --clips CLIPS --steps 250 --seeds 3

Trains a network per rung with the same batches and scores it on speakers of whom nothing was
trained on, and on tracked clips of real people with their sound beside them, which are for testing
only. Weights that lie in FOLDER already are scored as they are. Every seed draws other weights and
batches; the last table is their mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..models import checkpoints
from ..models.motion.atom_motion import ClipSampler
from ..models.motion.atom_small import LIMIT, AToMSmall
from ..models.motion.atom_speakers import FPS, SmallSpeaker
from ..models.motion.kdtalker_motion import resample
from ..models.motion.likeness import Likeness
from ..models.payloads import frames_for
from ..models.sampling import (
    Denoiser,
    Schedule,
    alphas_cumprod,
    cosine_betas,
    guided,
    sample_ddim,
    seeded_noise,
    trailing_timesteps,
)
from ..models.speech import starter
from ..models.speech.audio import MODEL_RATE, read_sound
from .atom import WEIGHTS, AToMRecipe
from .atom_data import Speakers, draw_batch, read_speakers
from .image_measures import mouth_landmark_distance
from .measures import pearson
from .rig import read_clip

RUNGS = {
    "baseline": {"residual": False, "landmarks": False, "disentangled": False},
    "+ residual prediction": {"residual": True, "landmarks": False, "disentangled": False},
    "+ landmark embedding": {"residual": True, "landmarks": True, "disentangled": False},
    "+ disentangled attention": {"residual": True, "landmarks": True, "disentangled": True},
}
MAX_LAG = 4  # frames by which sound and picture of a clip may be apart


def lip_curves(landmarks: Tensor) -> Tensor:
    """Gap of the inner lips and width of the mouth: `[…, T, 204]` → `[…, T, 2]`."""
    points = landmarks.unflatten(-1, (68, 3))
    pairs = ((62, 66), (48, 54))
    return torch.stack([(points[..., b, :] - points[..., a, :]).norm(dim=-1) for a, b in pairs], -1)


def lip_distance(guess: Tensor, truth: Tensor) -> float:
    """LMD of the lips: mean distance of their landmarks, % of the inter-ocular distance."""
    found, wanted = (x.reshape(-1, 68, 3) for x in (guess, truth))
    return 100 * mouth_landmark_distance(found, wanted)


@torch.no_grad()
def score_windows(network: AToMSmall, speakers: Speakers, windows: int = 48) -> dict[str, float]:
    """LMD of the lips and r of gap and width, in windows that begin with known landmarks."""
    random = np.random.default_rng(0)
    batch = draw_batch(speakers, windows, network.config.frames, random, dropped=0.0)
    first = batch.landmarks[:, 0]
    noise = seeded_noise(batch.landmarks.shape, torch.Generator().manual_seed(0))

    def denoiser(known: bool) -> Denoiser:
        kept = torch.full((windows,), known)
        return lambda x, t: network(x, first, batch.speech, torch.full((windows,), t), kept)

    alphas = alphas_cumprod(cosine_betas())
    schedule = Schedule(alphas=alphas, predicts="sample", clip=LIMIT)
    denoise = guided(denoiser(True), denoiser(False), SmallSpeaker.guidance)
    said = sample_ddim(denoise, noise, schedule, steps=trailing_timesteps(SmallSpeaker.steps))
    guess = network.restore(said, first)
    curves, true_curves = lip_curves(guess), lip_curves(batch.landmarks)
    moving = (true_curves[..., 0].std(1) > 0.01).nonzero().flatten()
    means = [
        sum(pearson(curves[i, :, j], true_curves[i, :, j]) for i in moving) / len(moving)
        for j in range(2)
    ]
    return {"LMD": lip_distance(guess, batch.landmarks), "gap": means[0], "width": means[1]}


@torch.no_grad()
def score_clip(network: AToMSmall, tracked: Path, video: Path) -> dict[str, float]:
    """The same for a tracked clip: LMD at lag 0, r of gap and width at lag 0 and at the best."""
    clip = read_clip(tracked)
    middle = clip.landmarks[:, [36, 45]].mean((0, 1))
    truth = (clip.landmarks - middle).float().flatten(1)
    with np.load(tracked) as stored:
        rate = float(stored["fps"])
    sound, waveform = read_sound(video)
    timeline = sound.timeline(rate)
    speech = starter.load().encode(waveform, MODEL_RATE, timeline)
    speaker = SmallSpeaker(network, torch.device("cpu"))
    frames = frames_for(timeline.num_samples, timeline.sample_rate, FPS)
    sampler = ClipSampler(
        speaker=speaker,
        device=torch.device("cpu"),
        heard=speaker.hear(speech, frames),
        likeness=Likeness(first=truth[0], scale=torch.eye(3)),
        steps=SmallSpeaker.steps,
        guidance=SmallSpeaker.guidance,
        reference=False,
    )
    guess = resample(sampler.sample(0), FPS, timeline.fps, timeline.num_frames)
    count = min(len(guess), len(truth))
    guess, truth = guess[:count], truth[:count]
    curves = lip_curves(guess)
    found = {"LMD": lip_distance(guess, truth)}
    for j, real in enumerate((clip.aperture[:count], clip.width[:count])):
        name = ("gap", "width")[j]
        by_lag = [lagged(real, curves[:, j], lag) for lag in range(-MAX_LAG, MAX_LAG + 1)]
        found |= {name: by_lag[MAX_LAG], f"{name} best": max(by_lag)}
    return found


def lagged(real: Tensor, guess: Tensor, lag: int) -> float:
    """r where `guess` comes `lag` frames early, without the ends."""
    inside = slice(MAX_LAG, len(real) - MAX_LAG)
    good = torch.isfinite(real[inside])
    return pearson(real[inside][good], guess.roll(lag)[inside][good])


def score(network: AToMSmall, held_out: Speakers, clips: Path | None) -> dict[str, float]:
    """Both scores, those of the clips being means."""
    scores = {f"synthetic {k}": v for k, v in score_windows(network, held_out).items()}
    if clips is None:
        return scores
    rows = [
        score_clip(network, path, path.with_suffix(".mp4")) for path in sorted(clips.glob("*.npz"))
    ]
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return scores | {f"clips {name}": value for name, value in means.items()}


def climb(
    recipe: AToMRecipe,
    folder: Path,
    clips: Path | None,
    on_rung: Callable[[str, dict[str, float]], None],
) -> None:
    """Train and score the rungs in order, calling `on_rung(name, scores)` after each."""
    held_out = read_speakers(recipe.data / "held_out")
    for index, (name, switches) in enumerate(RUNGS.items()):
        place = folder / f"rung_{index}"
        if not (place / WEIGHTS).is_file():
            replace(recipe, network=replace(recipe.network, **switches)).run(place)
        network = checkpoints.load("moditalker_motion", place / WEIGHTS)
        on_rung(name, score(network, held_out, clips))


def mean_scores(rows: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each score over seeds."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def spread_scores(rows: list[dict[str, float]]) -> dict[str, float]:
    """How far seeds are apart, from the smallest to the largest of each score."""
    return {n: max(row[n] for row in rows) - min(row[n] for row in rows) for n in rows[0]}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Scores by name as a Markdown table."""
    names = next(iter(rows.values()))
    lines = ["| | " + " | ".join(names) + " |", "|" + " --- |" * (len(names) + 1)]
    for name, scores in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in scores.values()) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.atom_ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="sessions of `ksdiff_data`")
    parser.add_argument("folder", type=Path, help="where the rungs' weights lie or will lie")
    parser.add_argument("--clips", type=Path, help="tracked clips (*.npz beside *.mp4)")
    parser.add_argument("--steps", type=int, default=250, help="of training per rung")
    parser.add_argument("--batch", type=int, default=8, help="windows per step")
    parser.add_argument("--files", type=int, default=24, help="of sessions to train on")
    parser.add_argument("--seeds", type=int, default=1, help="how many times everything is done")
    parser.add_argument("--first-seed", type=int, default=0, help="of these")
    given = parser.parse_args(arguments)
    recipe = AToMRecipe(data=given.data, batch=given.batch, files=given.files)
    loop = replace(recipe.loop, steps=given.steps, warmup=min(40, given.steps), log_every=25)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in RUNGS}
    for seed in range(given.first_seed, given.first_seed + given.seeds):

        def on_rung(name: str, scores: dict[str, float]) -> None:
            found[name].append(scores)
            print(name, {k: round(v, 2) for k, v in scores.items()}, flush=True)

        print(f"seed {seed}", flush=True)
        chosen = replace(recipe, loop=loop, seed=seed)
        climb(chosen, given.folder / f"seed_{seed}", given.clips, on_rung)
    print(table({name: mean_scores(rows) for name, rows in found.items()}))
    if given.seeds > 1:
        print("\nHow far the seeds are apart:\n")
        print(table({name: spread_scores(rows) for name, rows in found.items()}))


if __name__ == "__main__":
    main()
