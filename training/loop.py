"""One small training loop for every recipe: AdamW, warm-up and cosine decay, averaged weights.

Accelerate runs it: on one CPU as it is, on several GPUs or machines under `accelerate launch`. With
a folder the loop logs, draws its losses, and can be stopped and resumed at any time.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..models.payloads import PayloadError

Log = Callable[[int, dict[str, float], nn.Module], None]
"""Hears the step, the mean parts of the loss since the last call, and the averaged network."""
Loss = Callable[[Any, Any], tuple[Tensor, dict[str, float]]]
Batches = Iterator[Any] | Callable[[int], Any]
"""Endless; a function of the batch's number can be resumed, an iterator cannot."""
Network = TypeVar("Network", bound=nn.Module)
STATE = "state"  # folder of a stopped run: networks, optimiser, random numbers, progress


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long and how fast."""

    steps: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 200
    clip: float = 1.0
    average: float = 0.998  # of the weights, per step
    log_every: int = 50
    save_every: int = 500


class Progress:
    """How far a run is and what its losses were since the last log; saved with the networks."""

    def __init__(self) -> None:
        self.step = 0
        self.seconds = 0.0
        self.seen: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state)

    def means(self) -> dict[str, float]:
        """The mean parts of the loss since the last call."""
        means = {k: sum(row[k] for row in self.seen) / len(self.seen) for k in self.seen[-1]}
        self.seen = []
        return means


def train(
    network: Network,
    batches: Batches,
    loss: Loss,
    config: LoopConfig,
    on_log: Log | None = None,
    *,
    folder: Path | None = None,
) -> Network:
    """Train `network` in place and return the average of its weights along the way.

    Args:
        network: in training mode. Its `forward` must be what `loss` calls, for several GPUs.
        batches: an endless iterator, or a function from the batch's number to the batch, which
            must draw all its random numbers from that number.
        loss: `(network, batch)` → the value to minimise and its parts, for the log.
        config: length and speed.
        on_log: called every `log_every` steps.
        folder: gets `log.csv`, `log.png` and what is needed to go on; a run stopped there does.

    Raises:
        ValueError: a folder, and batches that cannot be resumed.
        PayloadError: Accelerate is not installed.
    """
    if folder is not None and not callable(batches):
        raise ValueError("A run that can be resumed needs batches by number, not an iterator.")
    accelerator = _accelerator()
    average = copy.deepcopy(network).eval().requires_grad_(False).to(accelerator.device)
    wrapped, optimiser = accelerator.prepare(network, _optimiser(network, config))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: pace(step, config))
    progress = Progress()
    accelerator.register_for_checkpointing(average, schedule, progress)
    record = _Record(folder, accelerator.is_main_process)
    if folder is not None and (folder / STATE).is_dir():
        accelerator.load_state(str(folder / STATE))
    record.resume(progress.step)
    began = time.monotonic() - progress.seconds
    while progress.step < config.steps:
        number = progress.step * accelerator.num_processes + accelerator.process_index
        batch = batches(number) if callable(batches) else next(batches)
        value, parts = loss(wrapped, to_device(batch, accelerator.device))
        optimiser.zero_grad(set_to_none=True)
        accelerator.backward(value)
        accelerator.clip_grad_norm_(wrapped.parameters(), config.clip)
        optimiser.step()
        schedule.step()
        step = progress.step = progress.step + 1
        follow(average, network, min(config.average, step / (step + 20)))
        progress.seen.append(parts)
        progress.seconds = time.monotonic() - began
        last = step == config.steps
        if (step % config.log_every == 0 or last) and accelerator.is_main_process:
            means = progress.means() | {"seconds": progress.seconds}
            record.add(step, means)
            if on_log:
                on_log(step, means, average)
        if folder is not None and (step % config.save_every == 0 or last):
            _save(accelerator, folder)
    accelerator.free_memory()
    return average


def is_main_process() -> bool:
    """Whether this process is the one, of all that train together, that writes files."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _accelerator() -> Any:
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError:
        raise PayloadError(
            'Training runs on Accelerate, which is not installed: pip install "soliloquy[train]".'
        ) from None
    # Whatever a batch leaves out, a transcript for example, gets no gradient in that step.
    return Accelerator(kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])


def _optimiser(network: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    trained = [p for p in network.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.98)
    )


def _save(accelerator: Any, folder: Path) -> None:
    """Write the state beside the old one, then swap, so that there is always a whole one."""
    import shutil

    fresh, old = folder / f"{STATE}.new", folder / f"{STATE}.old"
    accelerator.save_state(str(fresh))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        shutil.rmtree(old, ignore_errors=True)
        if (folder / STATE).exists():
            (folder / STATE).rename(old)
        fresh.rename(folder / STATE)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


class _Record:
    """`log.csv` and its picture, on the main process and where there is a folder."""

    def __init__(self, folder: Path | None, is_main: bool) -> None:
        self.folder = folder if is_main else None
        self.rows: list[dict[str, float]] = []

    def resume(self, step: int) -> None:
        """Forget what was logged behind the state that the run goes on from."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if step and (self.folder / "log.csv").exists():
            rows = read_log(self.folder / "log.csv")
            self.rows = [row for row in rows if row["step"] <= step]

    def add(self, step: int, means: dict[str, float]) -> None:
        """Write one more row."""
        if self.folder is None:
            return
        self.rows.append({"step": step, **means})
        with (self.folder / "log.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            writer.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in self.rows)
        draw_log(self.rows, self.folder / "log.png")


def read_log(path: Path) -> list[dict[str, float]]:
    """The rows of a `log.csv`."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def draw_log(rows: list[dict[str, float]], path: Path) -> None:
    """One curve per part of the loss, on a logarithmic axis; nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel="loss", yscale="log")
    for name in rows[0]:
        if name not in ("step", "seconds"):
            axes.plot([row["step"] for row in rows], [row[name] for row in rows], label=name)
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(str(path), dpi=110)


def to_device(batch: Any, device: torch.device) -> Any:
    """Tensors, and dataclasses, tuples and dictionaries of them, on a device."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: to_device(value, device) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        return type(batch)(to_device(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        names = [field.name for field in dataclasses.fields(batch)]
        moved = {name: to_device(getattr(batch, name), device) for name in names}
        return dataclasses.replace(batch, **moved)
    return batch


def recorded(recipe: Any) -> str:
    """A recipe as weight files keep it: of folders and files only the last name, since where they
    lie on one machine is of no use on another."""
    return repr(_without_folders(recipe))


def _without_folders(value: Any) -> Any:
    if isinstance(value, Path):
        return Path(value.name)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return dataclasses.replace(
        value, **{name: _without_folders(inner) for name, inner in fields.items()}
    )


def pace(step: int, config: LoopConfig) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to a fiftieth."""
    warm = min(1.0, (step + 1) / config.warmup)
    done = min(1.0, step / config.steps)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move the averaged weights a little towards the current ones."""
    for slow, fast in zip(average.parameters(), network.parameters(), strict=True):
        slow.lerp_(fast, 1 - momentum)
