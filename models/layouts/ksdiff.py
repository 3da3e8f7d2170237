"""DiffSpeaker, as published, and KSDiff, as our own recipe writes it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="diffspeaker",
        title="DiffSpeaker",
        build="motion.diffspeaker:build",
        prepare="motion.diffspeaker:prepare",
        prefixes=("module.", "denoiser."),  # its audio encoder is a wav2vec 2.0 of its own
        markers=(
            "audio_feature_map.weight",
            "vertice_map.weight",
            "motion_decoder.weight",
            "obj_vector.weight",
            "transformer_decoder.layers.0.linear1.weight",
        ),
        rename=(
            (r"^PPE\.pe$", None),  # a table, computed here
            (r"^audio_feature_map\.", "speech_in."),
            (r"^vertice_map\.", "motion_in."),
            (r"^motion_decoder\.", "motion_out."),
            (r"^time_embedding\.linear_1\.", "time_in."),
            (r"^time_embedding\.linear_2\.", "time_out."),
            (r"^obj_vector\.", "style."),
            (r"^transformer_decoder\.layers\.", "layers."),
            (r"\.self_attn\.", ".frames."),
            (r"\.multihead_attn\.", ".speech."),
            (r"\.out_proj\.", ".out."),
            (r"\.linear1\.", ".inner."),
            (r"\.linear2\.", ".outer."),
            (r"\.norm1\.", ".norm_frames."),
            (r"\.norm2\.", ".norm_speech."),
            (r"\.norm3\.", ".norm_inner."),
        ),
    ),
    Format(
        name="ksdiff_speech",
        title="Soliloquy KSDiff speech encoder",
        build="speech.dual_path:build",
        markers=("adapter.weight", "convolutions.join.weight"),
    ),
    Format(
        name="ksdiff_keyframes",
        title="Soliloquy KSDiff keyframe predictors",
        build="keyframes.predictor:build",
        markers=("paths.expression.previous.weight", "paths.pose.previous.weight"),
    ),
    Format(
        name="ksdiff_motion",
        title="Soliloquy KSDiff motion",
        build="motion.ksdiff:build",
        markers=("paths.pose.motion_in.weight",),
    ),
    Format(
        name="ksdiff_motion/both",
        title="Soliloquy KSDiff motion of one path",
        build="motion.ksdiff:build",
        markers=("paths.both.motion_in.weight",),
    ),
)
