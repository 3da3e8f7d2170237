"""ATL-Diff's U-Net, as a diffusers folder has it, and the paper's, as our own recipe writes it."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="atl_diff/unet3d",
        title="ATL-Diff U-Net (diffusers UNet3DConditionModel)",
        build="render.identity_diffusion.unet3d:build",
        prepare="render.identity_diffusion.unet3d:prepare",
        markers=(
            "transformer_in.proj_in.weight",
            "mid_block.temp_attentions.0.proj_in.weight",
            "conv_norm_out.weight",
        ),
        rename=(
            (r"^conv_in\.", "image_in."),
            (r"^time_embedding\.linear_1\.", "time_in."),
            (r"^time_embedding\.linear_2\.", "time_out."),
            (r"^transformer_in\.", "entrance."),
            (r"^(down|up)_blocks\.(\d+)\.(\w+s)\.(\d+)\.", r"\1.\2.layers.\4.\3."),
            (r"\.layers\.0\.\w+samplers\.conv\.", ".resample."),
            (r"^mid_block\.(\w+)\.(\d+)\.", r"mid.\2.\1."),
            (r"\.resnets\.", ".residual."),
            (r"\.temp_convs\.", ".temporal."),
            (r"\.attentions\.", ".attention."),
            (r"\.temp_attentions\.", ".temporal_attention."),
            (r"\.temporal\.conv1\.0\.", ".temporal.norms.0."),
            (r"\.temporal\.conv1\.2\.", ".temporal.convolutions.0."),
            (r"\.temporal\.conv2\.0\.", ".temporal.norms.1."),
            (r"\.temporal\.conv2\.3\.", ".temporal.convolutions.1."),
            (r"\.temporal\.conv3\.0\.", ".temporal.norms.2."),
            (r"\.temporal\.conv3\.3\.", ".temporal.convolutions.2."),
            (r"\.temporal\.conv4\.0\.", ".temporal.norms.3."),
            (r"\.temporal\.conv4\.3\.", ".temporal.convolutions.3."),
            (r"\.residual\.norm1\.", ".residual.first_norm."),
            (r"\.residual\.norm2\.", ".residual.second_norm."),
            (r"\.residual\.conv1\.", ".residual.first."),
            (r"\.residual\.conv2\.", ".residual.second."),
            (r"\.time_emb_proj\.", ".time."),
            (r"\.conv_shortcut\.", ".shortcut."),
            (r"\.proj_in\.", ".enter."),
            (r"\.proj_out\.", ".leave."),
            (r"\.transformer_blocks\.0\.norm1\.", ".first_norm."),
            (r"\.transformer_blocks\.0\.norm2\.", ".second_norm."),
            (r"\.transformer_blocks\.0\.norm3\.", ".gated_norm."),
            (r"\.transformer_blocks\.0\.attn1\.", ".first."),
            (r"\.transformer_blocks\.0\.attn2\.", ".second."),
            (r"\.transformer_blocks\.0\.ff\.net\.0\.proj\.", ".widen."),
            (r"\.transformer_blocks\.0\.ff\.net\.2\.", ".narrow."),
            (r"\.to_(q|kv|qkv)\.", r".\1."),
            (r"\.to_out\.0\.", ".out."),
            (r"^conv_norm_out\.", "norm_out."),
            (r"^conv_out\.", "image_out."),
        ),
    ),
)
