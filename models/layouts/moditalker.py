"""MoDiTalker, as published, and the variants that our own recipes write."""

from __future__ import annotations

from .format import Format

_ATOM = Format(
    name="moditalker/atom",
    title="MoDiTalker AToM",
    build="motion.atom:build",
    prepare="motion.atom:prepare",
    wrappers=("model_state_dict", "ema_state_dict", "state_dict", "model"),
    markers=(
        "null_cond_embed",
        "face_null_cond_embed",
        "input_projection_lip.weight",
        "cond_projection.weight",
        "cond_encoder.0.linear1.weight",
        "seqTransDecoder.stack.0.film1.block.1.weight",
        "final_layer.weight",
    ),
    rename=(
        (r"^(face_mlp|to_face_cond|to_face_tokens)\.", None),  # never called upstream
        (r"^(input_projection|pos_encoder|pos_projection|non_attn_pos_projection)\.", None),
        (r"^seqTransDecoder\.stack\.\d+\.linear[12]\.", None),  # no feed-forward layers there
        (r"(^|\.)rotary\.freqs$", None),  # a constant
        (r"^null_cond_embed$", "null_speech"),
        (r"^null_cond_hidden$", "null_speech_hidden"),
        (r"^face_null_cond_embed$", "null_landmarks"),
        (r"^time_mlp\.1\.", "time_in."),
        (r"^to_time_cond\.0\.", "time_hidden."),
        (r"^to_time_tokens\.0\.", "time_tokens."),
        (r"^norm_cond\.", "memory_norm."),
        (r"^input_projection_lip\.", "lips_in."),
        (r"^input_projection_wo_lip\.", "upper_in."),
        (r"^cond_projection\.", "speech_in."),
        (r"^face_projection\.", "landmarks_in."),
        (r"^non_attn_cond_projection\.", "speech_hidden."),
        (r"^non_attn_face_projection\.", "landmarks_hidden."),
        (r"^final_layer\.", "out."),
        (r"^cond_encoder\.", "speech_encoder."),
        (r"^face_encoder\.", "landmarks_encoder."),
        (r"(_encoder\.\d+)\.self_attn\.", r"\1.attention."),
        (r"(_encoder\.\d+)\.linear1\.", r"\1.inner."),
        (r"(_encoder\.\d+)\.linear2\.", r"\1.outer."),
        (r"(_encoder\.\d+)\.norm1\.", r"\1.attention_norm."),
        (r"(_encoder\.\d+)\.norm2\.", r"\1.norm."),
        (r"^seqTransDecoder\.stack\.", "layers."),
        (r"\.self_attn\.", ".self_attention."),
        (r"\.multihead_attn\.", ".cross_attention."),
        (r"\.out_proj\.", ".out."),
        (r"\.linear3\.", ".out."),
        (r"\.norm1\.", ".norms.0."),
        (r"\.norm2\.", ".norms.1."),
        (r"\.norm3\.", ".norms.2."),
        (r"\.film1\.block\.1\.", ".films.0."),
        (r"\.film2\.block\.1\.", ".films.1."),
        (r"\.film3\.block\.1\.", ".films.2."),
    ),
)

_ATOM_SMALL = Format(
    name="moditalker_motion",
    title="Soliloquy AToM",
    build="motion.atom_small:build",
    markers=("noisy_in.0.weight", "clean_out.0.weight", "null_speech", "deviation"),
)

_DEEP3DRECON = Format(
    name="deep3drecon",
    title="Deep3DFaceRecon reconstruction network",
    build="motion.face_model:build",
    prepare="motion.face_model:prepare",
    wrappers=("net_recon", "state_dict", "model"),
    markers=("backbone.conv1.weight", "backbone.layer1.0.bn3.running_var", "final_layers.6.bias"),
    rename=(
        (r"num_batches_tracked$", None),
        (r"^backbone\.conv1\.", "stem."),
        (r"^backbone\.layer1\.", "stages.0."),
        (r"^backbone\.layer2\.", "stages.1."),
        (r"^backbone\.layer3\.", "stages.2."),
        (r"^backbone\.layer4\.", "stages.3."),
        (r"\.downsample\.0\.", ".shortcut."),
        (r"^final_layers\.", "heads."),
    ),
)

_MTOV = (
    Format(
        name="moditalker/autoencoder",
        title="MoDiTalker tri-plane autoencoder",
        build="render.mtov.autoencoder:build",
        markers=("encoder.to_patch_embedding.weight", "to_pixel.1.weight", "pre_xy.weight"),
        rename=(
            (r"^coords$", None),  # never used upstream
            (r"\.(inv_freqs|scales)$", None),  # tables, computed anew
            (r"^encoder\.to_patch_embedding\.", "patches."),
            (r"^to_pixel\.1\.", "pixels."),
            (r"^(xy|yt|xt)_token$", r"pools.\1.token"),
            (r"^(xy|yt|xt)_pos_embedding$", r"pools.\1.position"),
            (r"^pre_(xy|yt|xt)\.", r"pools.\1.squeeze."),
            (r"^post_(xy|yt|xt)\.", r"pools.\1.expand."),
            (r"^(xy|yt|xt)_quant_attn\.layers\.(\d+)\.", r"pools.\1.blocks.\2."),
            (r"^(pools\.\w+\.blocks\.\d+)\.1\.norm\.", r"\1.feed_norm."),
            (r"^(pools\.\w+\.blocks\.\d+)\.[01]\.(fn\.)?", r"\1."),
            (r"^((?:en|de)coder)\.layers\.(\d+)\.0\.(fn\.)?", r"\1.blocks.\2.time."),
            (r"^((?:en|de)coder)\.layers\.(\d+)\.1\.(fn\.)?", r"\1.blocks.\2.space."),
            (r"^((?:en|de)coder)\.layers\.(\d+)\.2\.(fn\.)?", r"\1.blocks.\2.feed."),
            (r"\.to_qkv\.", ".qkv."),
            (r"\.to_out\.0\.", ".out."),
            (r"\.net\.0\.", ".widen."),
            (r"\.net\.3\.", ".narrow."),
        ),
    ),
    Format(
        name="moditalker/unet",
        title="MoDiTalker tri-plane U-Net",
        build="render.mtov.unet:build",
        prepare="render.mtov.unet:prepare",
        prefixes=("module.", "diffusion_model."),
        markers=("input_blocks.0.0.weight", "input_attns.1.qkv.weight", "mid_attn.qkv.weight"),
        rename=(
            (r"^output_bg_(blocks|attns)\.", None),  # never called upstream
            (r"^zeros$", None),  # a constant of the variant for long videos
            (r"^time_embed\.0\.", "time_in."),
            (r"^time_embed\.2\.", "time_out."),
            (r"^input_blocks\.0\.0\.", "down.0."),
            (r"^input_blocks\.", "down."),
            (r"^middle_block\.", "middle."),
            (r"^output_blocks\.", "up."),
            (r"^input_attns\.(\d+)\.", r"down.\1.across."),
            (r"^mid_attn\.", "middle.across."),
            (r"^output_attns\.(\d+)\.", r"up.\1.across."),
            (r"^(down\.\d+|middle|up\.\d+)\.0\.(?=in_|emb_|out_|skip_)", r"\1.residual."),
            (r"^(down\.\d+|middle|up\.\d+)\.[12]\.(?=in_|emb_|out_|skip_)", r"\1.after."),
            (r"^(down\.\d+|middle|up\.\d+)\.1\.(?=norm|qkv|proj_out)", r"\1.attention."),
            (r"\.in_layers\.0\.", ".norm."),
            (r"\.in_layers\.2\.", ".first."),
            (r"\.emb_layers\.1\.", ".modulate."),
            (r"\.out_layers\.0\.", ".second_norm."),
            (r"\.out_layers\.3\.", ".second."),
            (r"\.skip_connection\.", ".shortcut."),
            (r"\.proj_out\.", ".out."),
            (r"^out\.0\.", "out_norm."),
            (r"^out\.2\.", "out."),
        ),
    ),
    Format(
        name="mtov_autoencoder",
        title="Soliloquy tri-plane autoencoder",
        build="render.mtov.posed:build",
        markers=("patches.weight", "pools.xy.squeeze.weight", "pixels.weight"),
    ),
    Format(
        name="mtov_unet",
        title="Soliloquy tri-plane U-Net",
        build="render.mtov.unet:build",
        markers=("down.0.weight", "down.1.across.qkv.weight", "middle.across.qkv.weight"),
    ),
)

FORMATS: tuple[Format, ...] = (_ATOM, _ATOM_SMALL, _DEEP3DRECON, *_MTOV)
