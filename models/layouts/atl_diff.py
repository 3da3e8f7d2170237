"""ATL-Diff, as published, and the variants that our own recipes write."""

from __future__ import annotations

from .format import Format

_ATTENTION = (
    (r"\.in_proj_(weight|bias)$", r".project.\1"),
    (r"\.out_proj\.", ".out."),
)

FORMATS: tuple[Format, ...] = (
    Format(
        name="atl_diff_landmarks",
        title="Soliloquy's landmarks after ATL-Diff",
        build="motion.dual_domain:build",
        markers=("hear.weight", "see.weight", "feel.weight"),
    ),
    Format(
        name="atl_diff/kflm",
        title="ATL-Diff KFLM",
        build="motion.kflm:build",
        prepare="motion.kflm:prepare",
        prefixes=("module.",),
        markers=(
            "trans_ct.conv.weight",
            "trans_gbm.transformer_encoder.1.weight",
            "R2.0.weight",
            "KAN.layers.0.spline_weight",
        ),
        rename=(
            (r"^w2v\.", None),  # loads as "wav2vec2", a speech encoder
            (r"^trans_ct\.", "context."),
            (r"^trans_gb\.", "global_face."),
            (r"^trans_gbm\.", "global_mouth."),
            (r"\.transformer_encoder\.0\.layers\.0\.self_attn\.", ".listener.attention."),
            (r"\.transformer_encoder\.0\.layers\.0\.norm1\.", ".listener.attention_norm."),
            (r"\.transformer_encoder\.0\.layers\.0\.norm2\.", ".listener.norm."),
            (r"\.transformer_encoder\.0\.layers\.0\.linear1\.", ".listener.widen."),
            (r"\.transformer_encoder\.0\.layers\.0\.linear2\.", ".listener.narrow."),
            (r"\.transformer_encoder\.1\.", ".narrow."),
            (r"\.transformer_decoder\.layers\.0\.self_attn\.", ".mover.own_attention."),
            (r"\.transformer_decoder\.layers\.0\.multihead_attn\.", ".mover.speech_attention."),
            (r"\.transformer_decoder\.layers\.0\.norm1\.", ".mover.own_norm."),
            (r"\.transformer_decoder\.layers\.0\.norm2\.", ".mover.speech_norm."),
            (r"\.transformer_decoder\.layers\.0\.norm3\.", ".mover.norm."),
            (r"\.transformer_decoder\.layers\.0\.linear1\.", ".mover.widen."),
            (r"\.transformer_decoder\.layers\.0\.linear2\.", ".mover.narrow."),
            *_ATTENTION,
            (r"^(\w+)\.conv\.", r"\1.spread."),
            (r"^lstm\.", "local_face."),
            (r"^mouth\.", "local_mouth."),
            (r"^R1\.", "fuse_face."),
            (r"^R2\.0\.", "gate_face."),
            (r"^R3\.", "fuse_mouth."),
            (r"^KAN\.", "kan."),
            (r"\.base_weight$", ".base"),
            (r"\.spline_weight$", ".spline"),
            (r"\.spline_scaler$", ".scale"),
            (r"\.grid$", ".knots"),
        ),
    ),
    Format(
        name="resnet50",
        title="torchvision ResNet-50",
        build="resnet:build",
        prepare="resnet:folded",
        markers=("conv1.weight", "layer1.0.bn3.running_var", "layer3.5.conv3.weight", "fc.weight"),
        rename=(
            (r"num_batches_tracked$", None),
            (r"^fc\.", None),  # the classes of ImageNet
            (r"^conv1\.", "stem."),
            (r"^layer1\.", "stages.0."),
            (r"^layer2\.", "stages.1."),
            (r"^layer3\.", "stages.2."),
            (r"^layer4\.", "stages.3."),
            (r"\.downsample\.0\.", ".shortcut."),
        ),
    ),
)
