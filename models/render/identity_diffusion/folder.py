"""ATL-Diff's published folder: what diffusers saves of a pipeline, read without diffusers.

model_index.json   unet/config.json   unet/*.safetensors   scheduler/scheduler_config.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ... import checkpoints, ddim_config
from ...ddim_config import DDIMConfig
from ...payloads import PayloadError
from ...sampling import OnStep
from .unet3d import UNet3D

UNET, SCHEDULER = "unet", "scheduler"
WEIGHTS = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """The network of a folder and how it is sampled."""

    unet: UNet3D
    scheduler: DDIMConfig

    def sample(
        self, noise: Tensor, context: Tensor, *, steps: int = 8, on_step: OnStep | None = None
    ) -> Tensor:
        """A clip `[B, C, F, H, W]` from guided noise of that shape, as the published pipeline.

        The noise is taken as it is, at the noisiest timestep; nothing is clamped in the end.
        """
        keys_values = self.unet.condition(context)
        return ddim_config.sample(
            lambda noisy, timestep: self.unet.denoise(noisy, timestep, keys_values),
            noise,
            self.scheduler,
            steps=steps,
            on_step=on_step,
        )


def load_folder(path: str | Path, operations: ModuleType | Any = nn) -> Published:
    """The U-Net and the scheduler of a diffusers folder, on the CPU.

    Raises:
        PayloadError: a file is absent or is not JSON, or the folder holds another network or
            scheduler than a UNet3DConditionModel and DDIM.
    """
    path = Path(path)
    _check_index(path)
    config = read_json(path / UNET / "config.json")
    weights = path / UNET / WEIGHTS
    if not weights.is_file():
        found = sorted((path / UNET).glob("*.safetensors"))
        if len(found) != 1:
            raise PayloadError(
                f"The folder '{path.name}' has no '{UNET}/{WEIGHTS}'. Copy it there from the"
                " published folder."
            )
        weights = found[0]
    scheduler = ddim_config.config_from(read_json(path / SCHEDULER / "scheduler_config.json"))
    unet = checkpoints.load("atl_diff/unet3d", weights, operations, config=config)
    return Published(unet=unet, scheduler=scheduler)


def _check_index(path: Path) -> None:
    """Refuse folders whose index says that unet or scheduler are something else."""
    if not path.is_dir():
        raise PayloadError(
            f"There is no folder '{path}'. Give one with '{UNET}' and '{SCHEDULER}'."
        )
    if not (path / "model_index.json").exists():
        return  # the two configuration files say the same
    index = read_json(path / "model_index.json")
    for part, wanted in ((UNET, "UNet3DConditionModel"), (SCHEDULER, "DDIMScheduler")):
        named = index.get(part)
        kind = named[-1] if isinstance(named, list) and named else None
        if kind != wanted:
            raise PayloadError(
                f"The folder '{path.name}' says in model_index.json that its {part} is {kind};"
                f" a {wanted} is needed."
            )


def read_json(path: Path) -> Mapping[str, Any]:
    """The object in a configuration file.

    Raises:
        PayloadError: it is absent, or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PayloadError(
            f"There is no '{path.parent.name}/{path.name}'. Copy the whole published folder."
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PayloadError(f"'{path.parent.name}/{path.name}' is not JSON ({error}).") from None
    if not isinstance(found, dict):
        raise PayloadError(f"'{path.parent.name}/{path.name}' holds no configuration.")
    return found
