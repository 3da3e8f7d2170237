"""What a number was measured on, and how much memory it took."""

from __future__ import annotations

import os
import platform
import sys
from datetime import datetime, timezone
from typing import Any

import torch

from ..models.payloads import Portrait
from ..models.portrait.crop import prepare_portrait
from . import ASSETS


def description() -> dict[str, Any]:
    """The machine and the versions, for the head of a report."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def peak_memory() -> float:
    """The most memory this process has held so far, MiB; NaN on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def astronaut(size: int = 512) -> Portrait:
    """The demo's portrait, `size` pixels square."""
    import numpy as np
    from PIL import Image
    from skimage import data

    picture = Image.fromarray(data.astronaut()).resize((size, size), Image.Resampling.LANCZOS)
    landmarks = str(ASSETS / "astronaut_landmarks.json")
    return prepare_portrait(torch.from_numpy(np.array(picture)), landmarks=landmarks)
