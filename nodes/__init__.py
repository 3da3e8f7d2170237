"""Graph nodes, one file per stage; the only folder that knows the host. Here is their list."""

from __future__ import annotations

import logging

from . import (
    atl_diff_options,
    host,
    inspect,
    keyframes,
    moditalker_options,
    motion,
    motion_files,
    mtov_options,
    noise,
    options,
    portrait,
    render,
    speech,
    tracking,
)

NODES = (
    portrait.PreparePortrait,
    speech.LoadSpeechEncoder,
    speech.EncodeSpeech,
    keyframes.LoadKeyframeModel,
    keyframes.PredictKeyframes,
    keyframes.KeyframesFromMotion,
    keyframes.EditKeyframes,
    keyframes.PreviewKeyframes,
    motion.LoadMotionModel,
    motion.SampleMotion,
    motion.EditMotion,
    motion_files.SaveMotion,
    motion_files.LoadMotion,
    inspect.PreviewMotion,
    noise.LandmarkGuidedNoise,
    render.LoadRenderer,
    render.RenderPortrait,
    render.RenderVideo,
    render.PasteBack,
    options.KDTalkerOptions,
    options.LivePortraitOptions,
    options.ATLDiffOptions,
    atl_diff_options.ATLDiffRendererOptions,
    mtov_options.MToVOptions,
    moditalker_options.MoDiTalkerOptions,
    tracking.MotionFromVideo,
)


class SoliloquyExtension(host.ComfyExtension):
    """What the host asks for the nodes."""

    async def get_node_list(self) -> list[type[host.io.ComfyNode]]:
        """All nodes, in pipeline order."""
        return list(NODES)


async def comfy_entrypoint() -> SoliloquyExtension:
    """Called once by the host, which shortens errors to a line: the traceback is logged first."""
    try:
        host.register_model_folders()
        for node in NODES:
            node.GET_SCHEMA()
    except Exception:
        logging.exception("Soliloquy's nodes cannot be loaded.")
        raise
    return SoliloquyExtension()
