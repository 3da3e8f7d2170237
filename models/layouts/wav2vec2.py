"""wav2vec 2.0 and HuBERT as transformers, the host's files and torchaudio spell them."""

from __future__ import annotations

from .format import Format

FORMATS: tuple[Format, ...] = (
    Format(
        name="wav2vec2",
        title="wav2vec 2.0 or HuBERT",
        build="speech.wav2vec2:build",
        prepare="speech.wav2vec2:prepare",
        prefixes=("module.", "w2v.", "wav2vec2.", "hubert."),
        markers=("feature_extractor.conv_layers.0.conv.weight",),
        rename=(
            (r"(^|\.)masked_spec_embed$", None),  # for training only
            (r"^(lm_head|aux|quantizer|project_q|project_hid|projector|classifier)\.", None),
            (r"^encoder\.feature_projection\.", "feature_projection."),
            (r"^encoder\.transformer\.", "encoder."),
        ),
    ),
)
