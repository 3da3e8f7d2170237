"""A double of ComfyUI's Python API: only what Soliloquy's nodes use, as strict as v0.3.64, the
oldest supported host.

`install()` puts it into `sys.modules`; importing `soliloquy.nodes` then works on a machine without
ComfyUI.
"""

import sys
import time
from dataclasses import dataclass, field
from enum import Enum
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch


class InterruptProcessingException(BaseException):
    """As in the host since v0.20: no `except Exception` may stop it."""


class State:
    """What a test may look at and change."""

    def __init__(self):
        self.interrupt_after = None  # reports until the user presses interrupt
        self.reports = []  # (value, total, had a picture)
        self.said = []  # lines on the running node
        self.loaded = []  # patchers moved to the compute device, in order
        self.root = Path()

    def reset(self, root):
        self.__init__()
        self.root = Path(root)
        for name in ("input", "output", "temp", "models"):
            (self.root / name).mkdir(exist_ok=True)
        folder_paths = sys.modules["folder_paths"]
        folder_paths.models_dir = str(self.root / "models")
        folder_paths.folder_names_and_paths.clear()
        folder_paths.folder_names_and_paths["detection"] = (
            [str(self.root / "models" / "detection")],
            {".safetensors"},
        )


STATE = State()


def pruned(**options):
    return {name: value for name, value in options.items() if value is not None}


class Input:
    def __init__(self, id, display_name=None, optional=False, tooltip=None, lazy=None):
        self.id, self.display_name, self.optional = id, display_name, optional
        self.tooltip, self.lazy, self.extra_dict = tooltip, lazy, {}

    def as_dict(self):
        return pruned(display_name=self.display_name, tooltip=self.tooltip) | self.extra_dict


class WidgetInput(Input):
    options_of_type: tuple[str, ...] = ()

    def __init__(self, id, **options):
        common = {
            k: options.pop(k) for k in ("display_name", "optional", "tooltip") if k in options
        }
        super().__init__(id, **common)
        self.default = options.pop("default", None)
        self.widget_options = {name: options.pop(name, None) for name in self.options_of_type}
        if options:
            raise TypeError(f"{type(self).__qualname__} does not know {sorted(options)}")

    def as_dict(self):
        return super().as_dict() | pruned(default=self.default, **self.widget_options)


@dataclass
class Output:
    id: str | None = None
    display_name: str | None = None
    tooltip: str | None = None
    is_output_list: bool = False


def socket_type(name, base=Input, options=()):
    """A class with `Input` and `Output`, as `@comfytype` makes them."""
    made_input = type("Input", (base,), {"io_type": name, "options_of_type": options})
    made_output = type("Output", (Output,), {"io_type": name})
    return type(name, (), {"io_type": name, "Input": made_input, "Output": made_output})


NUMBER = ("min", "max", "step", "control_after_generate", "display_mode")


class ComboInput(WidgetInput):
    options_of_type = ("control_after_generate", "upload", "image_folder")
    io_type = "COMBO"

    def __init__(self, id, options, **rest):
        super().__init__(id, **rest)
        self.options = options

    def as_dict(self):
        return super().as_dict() | {"options": self.options}


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    hidden: list = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False

    def validate(self):
        inputs, outputs = [i.id for i in self.inputs], [o.id for o in self.outputs]
        if len(set(inputs + outputs)) != len(inputs + outputs):
            raise ValueError(f"Ids must be unique: {inputs}, {outputs}")


class NodeOutput:
    def __init__(self, *args, ui=None, expand=None, block_execution=None):
        self.args, self.ui, self.expand, self.block_execution = args, ui, expand, block_execution

    @property
    def result(self):
        return self.args or None


class ComfyNode:
    @classmethod
    def GET_SCHEMA(cls):  # noqa: N802 (the host's name)
        schema = cls.define_schema()
        schema.validate()
        return schema


class ComfyExtension:
    async def on_load(self):
        pass


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class SavedResult(dict):
    def __init__(self, filename, subfolder, type):
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class PreviewText:
    def __init__(self, value, **_):
        self.value = value

    def as_dict(self):
        return {"text": (self.value,)}


class VideoFromFile:
    def __init__(self, file):
        self.file = file

    def get_stream_source(self):
        return self.file


class ModelPatcher:
    def __init__(self, model, load_device, offload_device, size=0):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device


class ProgressBar:
    def __init__(self, total, node_id=None):
        self.total = total

    def update_absolute(self, value, total=None, preview=None):
        STATE.reports.append((value, total, preview is not None))


def throw_exception_if_processing_interrupted():
    if STATE.interrupt_after is not None and len(STATE.reports) >= STATE.interrupt_after:
        raise InterruptProcessingException


def folder(name):
    return lambda: str(STATE.root / name)


def annotated_filepath(name):
    for kind in ("output", "input", "temp"):
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 3], str(STATE.root / kind)
    return name, None


def add_model_folder_path(name, path, is_default=False):
    import folder_paths

    known = folder_paths.folder_names_and_paths.setdefault(name, ([], set()))
    if path not in known[0]:
        known[0].append(path)


def get_save_image_path(prefix, output, width=0, height=0):
    target = Path(output) / time.strftime(prefix.replace("%date%", "%Y"))
    if not target.resolve().is_relative_to(Path(output).resolve()):
        raise Exception("Saving image outside the output folder is not allowed.")
    target.parent.mkdir(parents=True, exist_ok=True)
    counter = 1 + len(list(target.parent.glob(f"{target.name}_*")))
    return str(target.parent), target.name, counter, str(Path(prefix).parent), prefix


def module(name, **members: Any):
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, is_package=True)
    made.__path__ = []
    made.__dict__.update(members)
    sys.modules[name] = made
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, made)
    return made


def install():
    """Put the double where the nodes import the host from; a real host stays."""
    if "comfy_api" in sys.modules:
        return
    io = SimpleNamespace(
        Schema=Schema,
        ComfyNode=ComfyNode,
        NodeOutput=NodeOutput,
        Input=Input,
        FolderType=FolderType,
        Custom=socket_type,
        Image=socket_type("IMAGE"),
        Mask=socket_type("MASK"),
        Audio=socket_type("AUDIO"),
        Video=socket_type("VIDEO"),
        Int=socket_type("INT", WidgetInput, NUMBER),
        Float=socket_type("FLOAT", WidgetInput, (*NUMBER, "round")),
        Boolean=socket_type("BOOLEAN", WidgetInput, ("label_on", "label_off")),
        String=socket_type("STRING", WidgetInput, ("multiline", "placeholder")),
        Combo=type("COMBO", (), {"io_type": "COMBO", "Input": ComboInput}),
        Hidden=SimpleNamespace(unique_id="UNIQUE_ID"),
    )
    ui = SimpleNamespace(SavedResult=SavedResult, PreviewText=PreviewText)
    cpu = torch.device("cpu")
    module("comfy_api")
    module(
        "comfy_api.latest",
        io=io,
        ui=ui,
        ComfyExtension=ComfyExtension,
        InputImpl=SimpleNamespace(VideoFromFile=VideoFromFile),
    )
    module("comfy")
    module(
        "comfy.model_management",
        get_torch_device=lambda: cpu,
        unet_offload_device=lambda: cpu,
        intermediate_device=lambda: cpu,
        should_use_fp16=lambda device: False,
        load_models_gpu=lambda patchers, **_: STATE.loaded.extend(patchers),
        throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
    )
    module("comfy_execution")
    module("comfy_execution.utils", get_executing_context=lambda: SimpleNamespace(node_id="1"))
    said = SimpleNamespace(send_progress_text=lambda text, node_id: STATE.said.append(text))
    module("server", PromptServer=SimpleNamespace(instance=said))
    module("comfy.model_patcher", ModelPatcher=ModelPatcher)
    module("comfy.utils", ProgressBar=ProgressBar)
    module(
        "folder_paths",
        models_dir="models",
        folder_names_and_paths={},
        get_input_directory=folder("input"),
        get_output_directory=folder("output"),
        get_temp_directory=folder("temp"),
        annotated_filepath=annotated_filepath,
        add_model_folder_path=add_model_folder_path,
        get_save_image_path=get_save_image_path,
    )
