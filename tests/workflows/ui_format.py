"""Workflow files in the frontend's format 0.4, and their translation for the HTTP interface."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..helpers import ROOT

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
FRONTEND_ONLY = {"MarkdownNote"}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")


@dataclass(frozen=True)
class Widget:
    """One entry of `widgets_values`. Those without a name belong to the frontend alone."""

    name: str | None
    type: str = "STRING"
    options: tuple = ()
    minimum: float | None = None
    maximum: float | None = None

    def accepts(self, value):
        """Whether the frontend and the host take this value."""
        kinds = {"INT": int, "FLOAT": (int, float), "BOOLEAN": bool, "STRING": str}
        if self.type in kinds and (
            not isinstance(value, kinds[self.type])
            or isinstance(value, bool) != (self.type == "BOOLEAN")
        ):
            return False
        if self.options and value not in self.options:
            return False
        low = self.minimum is None or value >= self.minimum
        return low and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True)
class NodeType:
    """What a workflow must agree with."""

    sockets: dict  # input name -> (type, required)
    outputs: tuple  # types
    widgets: tuple  # of Widget, in the order of `widgets_values`


FILE, NOTHING = Widget("image", "FILE"), Widget(None, "ANY")

CORE = {
    "LoadImage": NodeType({}, ("IMAGE", "MASK"), (FILE, NOTHING)),
    "LoadAudio": NodeType({}, ("AUDIO",), (Widget("audio", "FILE"), NOTHING, NOTHING)),
    "MaskToImage": NodeType({"mask": ("MASK", True)}, ("IMAGE",), ()),
    "PreviewImage": NodeType({"images": ("IMAGE", True)}, (), ()),
    "ImageSharpen": NodeType(
        {"image": ("IMAGE", True)},
        ("IMAGE",),
        (
            Widget("sharpen_radius", "INT", (), 1, 31),
            Widget("sigma", "FLOAT", (), 0.1, 10),
            Widget("alpha", "FLOAT", (), 0, 5),
        ),
    ),
    "CreateVideo": NodeType(
        {"images": ("IMAGE", True), "audio": ("AUDIO", False)},
        ("VIDEO",),
        (Widget("fps", "FLOAT", (), 1, 120),),
    ),
    "SaveVideo": NodeType(
        {"video": ("VIDEO", True)},
        (),
        (
            Widget("filename_prefix"),
            Widget("format", "COMBO", ("auto", "mp4")),
            Widget("codec", "COMBO", ("auto", "h264")),
        ),
    ),
    "MarkdownNote": NodeType({}, (), (Widget("text"),)),
}
"""The host's own nodes that our workflows use, as they are in every supported version."""


def node_type(schema):
    """The type of one of our nodes from its schema."""
    sockets, widgets = {}, []
    for entry in schema.inputs:
        kind, options = entry.io_type, entry.as_dict()
        if kind not in WIDGET_TYPES:
            sockets[entry.id] = (kind, not entry.optional)
            continue
        choices = tuple(options.get("options", ()))
        widgets.append(Widget(entry.id, kind, choices, options.get("min"), options.get("max")))
        if options.get("control_after_generate"):
            widgets.append(Widget(None, "COMBO", AFTER_GENERATE))
    return NodeType(sockets, tuple(output.io_type for output in schema.outputs), tuple(widgets))


def host_node_type(info):
    """The type of a node from what a host's `/object_info` says about it."""
    sockets, widgets = {}, []
    for group in ("required", "optional"):
        for name, (kind, *rest) in info["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if isinstance(kind, list):
                kind, options = "COMBO", {**options, "options": kind}
            if kind not in WIDGET_TYPES:
                sockets[name] = (kind, group == "required")
                continue
            limits = options.get("min"), options.get("max")
            widgets.append(Widget(name, kind, tuple(options.get("options", ())), *limits))
            if options.get("control_after_generate"):
                widgets.append(Widget(None, "COMBO", AFTER_GENERATE))
    return NodeType(sockets, tuple(info["output"]), tuple(widgets))


def read(path):
    """The workflow of a file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def to_api(workflow, types):
    """The same graph as `POST /prompt` takes it: named values, links as [node, slot], no notes."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in FRONTEND_ONLY:
            continue
        widgets = types[node["type"]].widgets
        values = zip(widgets, node.get("widgets_values") or [], strict=True)
        inputs = {widget.name: value for widget, value in values if widget.name}
        inputs |= {i["name"]: sources[i["link"]] for i in node["inputs"] if i["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt
