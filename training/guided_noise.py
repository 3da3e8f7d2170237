"""Guided noise against plain noise: which start lets the same network draw a better frame?

    python -m soliloquy train identity_diffusion -o guided --set loop.steps=500 …
    python -m soliloquy train identity_diffusion -o plain --set network.start=plain loop.steps=500 …
    python -m soliloquy.training.guided_noise guided plain

The claim of ATL-Diff (Nguyen et al. 2025, section 3.2). Both networks have the same size, data,
conditions and number of training steps, and draw the same held-out clips in the same eight steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..models import checkpoints
from ..models.payloads import PayloadError
from .identity_diffusion import NAME, reconstruction
from .identity_diffusion_data import SIZE, Clips

MEASURES = ("drawn frame", "drawn face", "drawn mouth")
Report = dict[str, dict[str, float]]


def compare(
    guided: Path, plain: Path, clips: Clips, *, seeds: int = 1, steps: int = 8, side: int = SIZE
) -> Report:
    """Root mean square errors of both, 0 … 255, averaged over seeds, and their ratio.

    Args:
        guided, plain: folders that training wrote, or weight files.
        clips: held out.
        seeds: of the noise.
        steps: of DDIM.
        side: of the part around the mouth that is drawn, pixels; the whole square by default.

    Raises:
        PayloadError: a network was trained for the other start.
    """
    report: Report = {}
    for start, path in (("guided", guided), ("plain", plain)):
        file = path / f"{NAME}.safetensors" if path.is_dir() else path
        network = checkpoints.load(NAME, file)
        if network.config.start != start:
            raise PayloadError(
                f"'{file}' was trained to start from {network.config.start} noise; give one for"
                f" {start} noise."
            )
        runs = [
            reconstruction(network, clips, seed=1000 * seed, steps=steps, side=side)
            for seed in range(seeds)
        ]
        report[start] = {name: sum(run[name] for run in runs) / seeds for name in runs[0]}
    ratio = {name: report["guided"][name] / report["plain"][name] for name in MEASURES}
    return {**report, "guided / plain": ratio}


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m soliloquy.training.guided_noise",
        description="guided against plain noise on held-out clips",
    )
    parser.add_argument("guided", type=Path, help="what training wrote, or a weight file")
    parser.add_argument("plain", type=Path, help="the same with network.start=plain")
    parser.add_argument("--clips", type=Path, help="held-out clips (of the first folder)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="of the noise (1)")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="of DDIM (8)")
    parser.add_argument(
        "--side", type=int, default=SIZE, metavar="N", help="pixels around the mouth (all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers to a file")
    given = parser.parse_args(arguments)
    clips = Clips.load(given.clips or given.guided / "clips" / "test.safetensors")
    report = compare(
        given.guided, given.plain, clips, seeds=given.seeds, steps=given.steps, side=given.side
    )
    for name, values in report.items():
        print(f"{name:<16}" + "  ".join(f"{key} {value:7.3f}" for key, value in values.items()))
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
