"""KDTalker and the audio half of Wav2Lip that feeds it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="wav2lip_audio",
        title="Wav2Lip",
        build="speech.wav2lip:build",
        prepare="speech.wav2lip:prepare",
        prefixes=("module.", "audio_encoder."),  # the face half of the generator is not used
        markers=("0.conv_block.0.weight", "0.conv_block.1.running_var", "12.conv_block.0.weight"),
        rename=((r"num_batches_tracked$", None), (r"^(\d+)\.conv_block\.0\.", r"blocks.\1.")),
    ),
    Format(
        name="kdtalker",
        title="KDTalker",
        build="motion.kdtalker:build",
        prepare="motion.kdtalker:prepare",
        prefixes=("module.", "point_model.model."),
        markers=(
            "time_mlp.1.weight",
            "input_projection.weight",
            "time_rel_pos_bias.relative_attention_bias.weight",
            "layers.0.0.mlp.1.weight",
            "layers.0.2.fn.fn.to_qkv.weight",
        ),
        rename=(
            (r"^positional_encoding\.", None),  # never called upstream
            (r"\.block2\.norm\.", None),  # never applied upstream
            (r"^time_mlp\.1\.", "time_in."),
            (r"^time_mlp\.3\.", "time_out."),
            (r"^input_projection\.", "motion_in."),
            (r"^output_projection\.", "motion_out."),
            (r"^time_rel_pos_bias\.relative_attention_bias\.", "distance_bias."),
            (r"^layers\.(\d+)\.0\.", r"layers.\1.first."),
            (r"^layers\.(\d+)\.1\.", r"layers.\1.second."),
            (r"^layers\.(\d+)\.2\.fn\.fn\.to_qkv\.", r"layers.\1.attention.qkv."),
            (r"^layers\.(\d+)\.2\.fn\.fn\.proj\.", r"layers.\1.attention.out."),
            (r"^layers\.(\d+)\.2\.fn\.norm\.", r"layers.\1.attention.norm."),
            (r"\.mlp\.1\.", ".modulate."),
            (r"\.block1\.proj\.", ".inner."),
            (r"\.block1\.norm\.", ".norm."),
            (r"\.block2\.proj\.", ".outer."),
            (r"\.norm\.gamma$", ".norm.weight"),
            (r"\.norm\.beta$", ".norm.bias"),
        ),
    ),
)
