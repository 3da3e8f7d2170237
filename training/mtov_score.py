"""How well MToV's networks draw windows of portraits they never saw.

    python -m soliloquy.training.mtov_score FOLDER [--weights FOLDER] [--sheet FILE]

FOLDER holds the windows of a training run, and its weights unless others are named. A table says
how far pictures are from what the warp renderer drew: the pose without speech, what is left after
the autoencoder, what it makes of landmarks alone, and what sampling makes of those.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ..models.render.mtov import diffusion, renderer
from ..models.render.mtov.posed import PosedAutoencoder
from ..models.render.mtov.scene import mouth_video
from ..models.sampling import seeded_noise
from .mtov import latents_of, video_of
from .mtov_data import Windows

SHOWN = 8  # frames of a window in a sheet
SHEET_ROWS = 6


def main(arguments: list[str] | None = None) -> None:
    """Print the table and, if asked to, draw pictures to compare."""
    parser = argparse.ArgumentParser(prog="soliloquy.training.mtov_score")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with the windows")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="with the weights")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="a picture of some windows")
    parser.add_argument("--steps", type=int, default=renderer.SMALL_STEPS, metavar="N")
    options = parser.parse_args(arguments)
    windows = Windows.load(options.folder / "test_windows.safetensors")
    weights = options.weights or options.folder
    files = {name: weights / f"mtov_{name}.safetensors" for name in renderer.BUNDLED}
    made = renderer.load(**files)
    drawn = [pictures(made, windows, row, options.steps) for row in range(len(windows))]
    for name in drawn[0]:
        if name != "frames":
            errors = [errors_of(d[name], d["frames"], windows, i) for i, d in enumerate(drawn)]
            face, mouth, time = torch.tensor(errors).square().mean(0).sqrt().tolist()
            print(f"{name:<12} face {face:6.2f}  mouth {mouth:6.2f}  change in time {time:6.2f}")
    if options.sheet:
        save_sheet(drawn[:: max(1, len(drawn) // SHEET_ROWS)][:SHEET_ROWS], options.sheet)


@torch.no_grad()
def pictures(
    made: renderer.MToVRenderer, windows: Windows, row: int, steps: int
) -> dict[str, Tensor]:
    """A window as it is and as networks of our variant draw it, `[T, 3, S, S]` in −1 … 1 each."""
    network = made.autoencoder
    if not isinstance(network, PosedAutoencoder):
        raise SystemExit("Only our variant of the autoencoder is scored.")
    frames, pose = (video_of(windows, kind, row)[None] for kind in ("frames", "pose"))
    mouth = mouth_video(windows.landmarks[row], frames.shape[-1])[None]
    latents = latents_of(windows, row, [network])
    condition = made.unet.condition(latents["given"], latents["reference"])
    noise = seeded_noise(latents["start"].shape, torch.Generator().manual_seed(0))
    sampled = diffusion.sample(
        lambda x, t: made.unet.step(x, condition, made.unet.modulations(torch.tensor([t]))),
        diffusion.noised_start(latents["start"], noise),
        diffusion.timesteps(steps, diffusion.RATIO),
    )
    found = {
        name: network.decode_from_sample(latent, pose, mouth)
        for name, latent in (
            ("autoencoder", latents["frames"]),
            ("landmarks", latents["start"]),
            ("sampled", sampled),
        )
    }
    known = {"frames": frames, "pose": pose}
    return {
        name: rearrange(video[0], "c t h w -> t c h w") for name, video in known.items()
    } | found


def errors_of(found: Tensor, frames: Tensor, windows: Windows, row: int) -> list[float]:
    """Root mean square error of the lower face, of the mouth, and of the lower face's changes from
    frame to frame, 0 … 255."""
    face = windows.shown[row, :, None].float() / 255
    mouth = face * mouth_place(windows.landmarks[row], face.shape[-1])[:, None]
    error = 127.5 * (found - frames)
    return [
        *(float(((error.square() * w).sum() / (3 * w.sum())).sqrt()) for w in (face, mouth)),
        float(((error.diff(dim=0).square() * face[1:]).sum() / (3 * face[1:].sum())).sqrt()),
    ]


def mouth_place(landmarks: Tensor, size: int) -> Tensor:
    """The box around the mouth of each frame, `[T, size, size]` of 0 and 1."""
    lips = landmarks[:, 48:68]
    low, high = lips.amin(1), lips.amax(1)
    pixels = torch.arange(size)
    across, down = (
        (pixels >= low[:, axis, None]) & (pixels <= high[:, axis, None]) for axis in (0, 1)
    )
    return (down[:, :, None] & across[:, None, :]).float()


def save_sheet(drawn: list[dict[str, Tensor]], path: Path) -> None:
    """Windows one below the other: as they are, the pose, the autoencoder's, the sampled."""
    from PIL import Image

    rows = []
    for window in drawn:
        for video in window.values():
            chosen = video[:: max(1, len(video) // SHOWN)][:SHOWN]
            rows.append(torch.cat(list(chosen.movedim(1, -1)), dim=1))
    sheet = ((torch.cat(rows).clamp(-1, 1) + 1) * 127.5).round().byte()
    Image.fromarray(sheet.numpy()).save(path)


if __name__ == "__main__":
    main()
