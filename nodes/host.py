"""Everything the nodes ask of their host (ComfyUI), in one file: no other file imports it.

Written for v0.3.64 (October 2025) and everything since. What those hosts do differently is settled
here: schema fields that came later are dropped, `advanced` travels in the input's extra options,
patchers are looked up when they are made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from copy import copy
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy_api.latest import ComfyExtension, InputImpl, io, ui
from comfy_execution.utils import get_executing_context
from server import PromptServer
from torch import Tensor, nn

from ..models import catalogue, formats
from ..models.payloads import PayloadError

__all__ = ["ComfyExtension", "io", "ui"]

SEED_MAX = 2**64 - 1
OWN_FOLDERS = ("soliloquy", "liveportrait", "kdtalker")  # of models/, added where absent
MODEL_FOLDERS = (*OWN_FOLDERS, "detection")  # where files that a user adds are looked for
MODEL_EXTENSIONS = {".safetensors", ".task", ".pth", ".pt", ".zip"}
CORE_LANDMARKER = (
    "mediapipe_face_fp32.safetensors"  # in models/detection, for the host's own face detection
)
PREVIEW_SIZE = 512  # longest side of a picture sent with the progress, pixels

_SCHEMA_FIELDS = set(inspect.signature(io.Schema).parameters)


def schema(**fields: Any) -> io.Schema:
    """A node's schema without the fields that an older host does not know."""
    return io.Schema(**{name: value for name, value in fields.items() if name in _SCHEMA_FIELDS})


def advanced(widget: io.Input) -> io.Input:
    """The widget, folded away by frontends that can; there was no argument for it before 2026."""
    widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget


class Managed:
    """A loaded system and the patchers through which the host moves its networks between devices.

    The host finds the patchers through `get_models` and keeps them while a graph runs.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self._patchers = [_patcher(network) for network in _networks(system)]

    def get_models(self) -> list[comfy.model_patcher.ModelPatcher]:
        """The patchers, one per network."""
        return self._patchers

    def adjusted(self, system: Any) -> Managed:
        """The same networks under the same patchers, in a system with other settings."""
        managed = copy(self)
        managed.system = system
        return managed

    def ready(self) -> Any:
        """The system, with its networks on the compute device.

        Every system keeps its networks in attributes and sends its tensors to `device`.
        """
        if self._patchers:
            comfy.model_management.load_models_gpu(self._patchers)
            self.system.device = comfy.model_management.get_torch_device()
        return self.system


def load_system(stage: str, name: str) -> Managed:
    """The system called `name` of a stage ("speech", "motion" or "render"), its networks on the
    offload device.

    A system without networks computes on the device it is loaded for.

    Raises:
        PayloadError: its files are not there; the message says which belongs in which folder.
    """
    row, management = formats.find_system(stage, name), comfy.model_management
    options = row.find_weights([folder_paths.models_dir, *model_folders()])
    if row.half and management.should_use_fp16(management.get_torch_device()):
        options["dtype"] = torch.float16
    system = row.load(device=management.unet_offload_device(), **options)
    if not _networks(system):
        system = row.load(device=management.get_torch_device(), **options)
    return Managed(system)


def licence_notes(stage: str, *names: str) -> list[str]:
    """A line on the licence of every system of a stage that needs files, or of those named."""
    rows = [row for row in formats.systems(stage) if not names or row.name in names]
    return [f"{row.title}: {row.licences}." for row in rows if catalogue.needed_for(row.name)]


def _networks(system: Any) -> list[nn.Module]:
    """Those in attributes of the system, and in dictionaries that are attributes."""
    if isinstance(system, nn.Module):
        return [system]
    values = [
        part
        for value in vars(system).values()
        for part in (value.values() if isinstance(value, dict) else [value])
    ]
    return [value for value in values if isinstance(value, nn.Module)]


def _patcher(network: nn.Module) -> comfy.model_patcher.ModelPatcher:
    # CoreModelPatcher is rebound while the host starts, so it must be looked up now and not on
    # import.
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    management = comfy.model_management
    return kind(
        network,
        load_device=management.get_torch_device(),
        offload_device=management.unet_offload_device(),
    )


def progress() -> Callable[..., None]:
    """A callback `(done, total, picture=None)` that moves the node's bar and raises once the user
    interrupts.

    The bar alone is not enough for the second: newer hosts throttle it.
    """
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int, picture: Tensor | None = None) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total, None if picture is None else _preview(picture))

    return report


def _preview(picture: Tensor) -> tuple[str, Any, int]:
    """`[H, W, 3]` uint8 as the host sends pictures beside the progress bar."""
    from PIL import Image

    step = max(1, max(picture.shape[:2]) // PREVIEW_SIZE)
    return "JPEG", Image.fromarray(picture[::step, ::step].contiguous().numpy()), PREVIEW_SIZE


def say(*lines: str) -> ui.PreviewText | None:
    """Lines for the user: shown on the running node, and kept in the results for other programs."""
    text, running = "\n".join(lines), get_executing_context()
    if not text:
        return None
    if running is not None:
        PromptServer.instance.send_progress_text(text, running.node_id)
    return ui.PreviewText(text)


def colour(image: Tensor) -> Tensor:
    """IMAGE `[B, H, W, 1, 3 or 4]` → float32 `[B, H, W, 3]` in 0 … 1 on the CPU.

    An alpha channel is left out, grey is repeated.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        shape = " × ".join(map(str, image.shape))
        raise PayloadError(f"An IMAGE of {shape} was given; batch × height × width × 3 is needed.")
    channels = image[..., :3] if image.shape[-1] > 1 else image.expand(*image.shape[:3], 3)
    return channels.detach().float().cpu().clamp(0, 1)


def pictures(image: Tensor) -> Tensor:
    """IMAGE → uint8 `[B, H, W, 3]` on the CPU."""
    return colour(image).mul(255).round().to(torch.uint8)


def masks(mask: Tensor | None, count: int, size: tuple[int, int]) -> list[Tensor | None]:
    """MASK `[B or 1, H, W]` → one `[H, W]` float32 mask on the CPU per picture.

    Raises:
        PayloadError: another size than the pictures, or another number of masks.
    """
    if mask is None:
        return [None] * count
    if tuple(mask.shape[-2:]) != size or mask.shape[0] not in (1, count):
        given, wanted = "×".join(map(str, mask.shape[::-1])), f"{size[1]}×{size[0]}"
        raise PayloadError(
            f"The mask is {given} (width, height, number); {count} of {wanted} are needed. A Load"
            " Image without transparency gives a mask of 64×64: leave it unconnected."
        )
    areas = mask.detach().float().cpu().clamp(0, 1)
    return list(areas if len(areas) == count else areas.expand(count, *size))


def image_output(frames: Iterable[Tensor], total: int) -> Tensor:
    """Batches `[b, H, W, 3]`, uint8 or 0 … 1 → one IMAGE `[total, H, W, 3]`."""
    device, image, done = comfy.model_management.intermediate_device(), None, 0
    for batch in frames:
        if image is None:
            image = torch.empty((total, *batch.shape[1:]), dtype=torch.float32, device=device)
        if done + len(batch) > total:
            raise PayloadError(f"The renderer made more than the {total} frames that were needed.")
        part = image[done : done + len(batch)].copy_(batch)
        if batch.dtype == torch.uint8:
            part.div_(255)
        done += len(batch)
    if image is None or done != total:
        raise PayloadError(f"The renderer made {done} frames where {total} were needed.")
    return image


def sound(audio: dict[str, Any] | None) -> tuple[Tensor, int]:
    """AUDIO → the waveform `[C, S]` float32 and its sample rate in Hz.

    Raises:
        PayloadError: nothing is connected behind the socket (a silent video), or several sounds are
        batched.
    """
    if audio is None:
        raise PayloadError(
            "The AUDIO is empty: its source has no sound. Connect a file with a sound track."
        )
    waveform = audio["waveform"]
    if waveform.ndim != 3 or len(waveform) != 1:
        raise PayloadError(
            f"AUDIO with a batch of {len(waveform)} sounds was given; one is needed. Split the"
            " batch first."
        )
    return waveform[0].detach().float().cpu(), int(audio["sample_rate"])


def detect_with_core_landmarker(image: Tensor) -> dict[str, Any] | None:
    """FACE_LANDMARKS of an IMAGE from the host's own MediaPipe nodes, or None where host or weights
    lack them.

    The nodes exist since v0.22; their weights are one file in `models/detection`.
    """
    weights = find_model_file(CORE_LANDMARKER)
    if weights is None or find_spec("comfy_extras.nodes_mediapipe") is None:
        return None
    nodes = import_module("comfy_extras.nodes_mediapipe")
    model = nodes.LoadMediaPipeFaceLandmarker.execute(weights.name).result[0]
    found = nodes.MediaPipeFaceLandmarker.execute(
        model,
        image,
        detector_variant="both",
        num_faces=0,
        min_confidence=0.5,
        missing_frame_fallback="empty",
    )
    return found.result[0]


def register_model_folders() -> None:
    """Add our folders to the host's model folders; what the user configured stays."""
    for name in OWN_FOLDERS:
        folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | MODEL_EXTENSIONS)


def model_folders() -> list[Path]:
    """The folders in which files that a user adds are looked for, most specific first."""
    known = folder_paths.folder_names_and_paths
    return [Path(path) for name in MODEL_FOLDERS if name in known for path in known[name][0]]


def model_folder(name: str) -> Path:
    """Where a user puts files of this kind ("soliloquy" or "detection")."""
    known = folder_paths.folder_names_and_paths
    return Path(known[name][0][0] if name in known else Path(folder_paths.models_dir) / name)


def find_model_file(name: str) -> Path | None:
    """The first file called `name` in the model folders."""
    return next((folder / name for folder in model_folders() if (folder / name).is_file()), None)


def input_files(*extensions: str) -> list[str]:
    """Files with these extensions in the input folder and in "soliloquy" of the output folder."""
    inside = Path(folder_paths.get_input_directory())
    saved = Path(folder_paths.get_output_directory())
    names = [path.name for path in _files(inside, extensions)]
    names += [
        f"{p.relative_to(saved).as_posix()} [output]"
        for p in _files(saved / "soliloquy", extensions)
    ]
    return names


def _files(folder: Path, extensions: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in extensions)


def input_file(name: str) -> Path:
    """The file behind a name such as "smile.json" or "soliloquy/motion_00001_.json [output]".

    Raises:
        PayloadError: no such file, or the name leads out of the host's folders.
    """
    plain, folder = folder_paths.annotated_filepath(name)
    root = Path(folder or folder_paths.get_input_directory()).resolve()
    path = (root / plain).resolve()
    if not path.is_relative_to(root):
        raise PayloadError(
            f"'{name}' leads out of the folder '{root.name}'. Copy the file into it."
        )
    if not plain or not path.is_file():
        raise PayloadError(
            f"There is no file '{plain}' in the host's folder '{root.name}'. Copy it there."
        )
    return path


def file_state(name: str) -> str:
    """What changes when the file behind a name changes, for the host's cache; "" for no name."""
    if not name.strip():
        return ""
    state = input_file(name).stat()
    return f"{state.st_mtime_ns} {state.st_size}"


def output_file(prefix: str, extension: str) -> tuple[Path, ui.SavedResult]:
    """A new numbered file in the output folder, and what the host shows for it."""
    root = Path(folder_paths.get_output_directory()).resolve()
    if not (root / prefix).resolve().is_relative_to(root):
        raise PayloadError(f"'{prefix}' leads outside the output folder. Give a name without '..'.")
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, str(root))
    file = f"{name}_{counter:05}_{extension}"
    return Path(folder) / file, ui.SavedResult(file, subfolder, io.FolderType.output)


def temporary_file(extension: str) -> Path:
    """A new file in the host's temporary folder, which it empties when it starts."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"soliloquy_{uuid4().hex}{extension}"


def video_output(path: Path) -> Any:
    """VIDEO that reads from a file; Save Video copies its streams without decoding them."""
    return InputImpl.VideoFromFile(str(path))
