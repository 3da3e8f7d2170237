"""wav2vec 2.0 and HuBERT, with tiny networks of transformers."""

import re

import pytest
import torch
from soliloquy.models import checkpoints
from soliloquy.models.payloads import PayloadError
from soliloquy.models.speech import wav2vec2
from soliloquy.models.speech.wav2vec2 import Wav2Vec2Features, fades, padded, piece_starts

from ...helpers import shared

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}


def tiny(kind: str = "Wav2Vec2", **options) -> torch.nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SIZES, **options)
    return getattr(transformers, f"{kind}Model")(config).eval()


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))


def torchaudio_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As ATL-Diff's published file spells them."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("feature_projection."):
            key = f"encoder.{key}"
        elif key.startswith("encoder."):
            key = key.replace("encoder.", "encoder.transformer.", 1)
        if "masked_spec" not in key:
            renamed[f"w2v.{key}"] = value
    return renamed


def old_weight_norm(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    swap = {"parametrizations.weight.original0": "weight_g"}
    swap["parametrizations.weight.original1"] = "weight_v"
    renamed = {}
    for key, value in state.items():
        for new, old in swap.items():
            key = key.replace(new, old)
        renamed[key] = value
    return renamed


def in_a_head(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"hubert.{k}": v for k, v in state.items()} | {"lm_head.weight": torch.zeros(3, 128)}


@pytest.mark.parametrize("spelling", [dict, torchaudio_names, old_weight_norm, in_a_head])
@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
@torch.no_grad()
def test_one_file_is_enough_in_every_spelling(spelling, options):
    kind = "Hubert" if spelling is in_a_head else "Wav2Vec2"
    original, sound = tiny(kind, **options), noise(8000)[None]
    loaded = checkpoints.load("wav2vec2", spelling(original.state_dict()))
    torch.testing.assert_close(
        loaded(sound).last_hidden_state, original(sound).last_hidden_state, atol=1e-5, rtol=1e-5
    )


def test_a_folder_is_read_and_a_file_too(tmp_path):
    original = tiny("Hubert", **LARGE)
    original.save_pretrained(tmp_path / "hubert")
    from_folder = wav2vec2.load(tmp_path / "hubert").features(noise(16000))
    from_file = wav2vec2.load(tmp_path / "hubert" / "model.safetensors").features(noise(16000))
    assert from_folder.shape == (49, 128)
    torch.testing.assert_close(from_folder, from_file, atol=1e-5, rtol=1e-5)


def test_the_sound_is_normalised_as_transformers_does_it():
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    sound = 3 * noise(5000) + 0.2
    expected = extractor(sound.numpy(), sampling_rate=16000, return_tensors="pt").input_values[0]
    torch.testing.assert_close(
        Wav2Vec2Features(tiny()).prepared(sound), expected, atol=1e-5, rtol=1e-5
    )
    assert torch.equal(Wav2Vec2Features(tiny(), normalise=False).prepared(sound), sound)


@torch.no_grad()
def test_a_short_sound_is_heard_as_a_whole():
    network, sound = tiny(), noise(16000)
    heard = Wav2Vec2Features(network, normalise=False).features(sound)
    torch.testing.assert_close(heard, network(sound[None]).last_hidden_state[0])
    assert heard.shape == (49, 128)


@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
@torch.no_grad()
def test_pieces_come_close_to_the_whole_and_have_no_seams(options):
    encoder, sound = Wav2Vec2Features(tiny(**options)), noise(16000 * 8)
    sound[64000:] *= 0.2  # the norm over time of the base network must be one over the whole
    whole = encoder.features(sound)
    pieces = encoder.features(sound, piece=150, overlap=50)
    assert pieces.shape == whole.shape == (399, 128)
    assert float((pieces - whole).norm() / whole.norm()) < 0.05
    jumps = pieces.diff(dim=0).norm(dim=1) / whole.diff(dim=0).norm(dim=1)
    assert float(jumps.max()) < 1.2


@pytest.mark.parametrize("samples", [1, 100, 400, 16000, 16001, 48000])
@pytest.mark.parametrize("padding", [0, wav2vec2.EVEN, wav2vec2.CENTRED])
def test_any_length_has_its_number_of_features(samples, padding):
    heard = Wav2Vec2Features(tiny(), padding=padding).features(noise(samples))
    assert len(heard) == max((samples + 2 * padding - 400) // 320 + 1, 1)
    assert torch.isfinite(heard).all()


def test_padding_centres_the_features_or_makes_their_number_even():
    assert [len(padded(noise(16000), p)) for p in (0, 40, 200)] == [16000, 16080, 16400]
    assert wav2vec2.feature_count(16000 + 2 * wav2vec2.EVEN) == 50
    assert wav2vec2.feature_count(16000 + 2 * wav2vec2.CENTRED) == 51


@torch.no_grad()
def test_hidden_states_can_be_chosen():
    network, sound = tiny(), noise(4000)
    states = network(sound[None], output_hidden_states=True).hidden_states
    encoder = Wav2Vec2Features(network, normalise=False, layers=(0, 2))
    torch.testing.assert_close(encoder.features(sound), (states[0][0] + states[2][0]) / 2)
    with pytest.raises(PayloadError, match="Hidden state 3 .* 0 to 2"):
        Wav2Vec2Features(network, layers=(3,))


@torch.no_grad()
def test_blocks_are_those_of_the_published_preparation():
    network, sound = tiny(**LARGE), noise(16000 * 3)
    encoder = Wav2Vec2Features(network)
    level = encoder.prepared(sound)
    blocks = encoder.features_in_blocks(sound, block=60)
    expected = [
        network(level[None, i * 19200 : i * 19200 + 19200 - 320 + 400]).last_hidden_state[0]
        for i in range(3)
    ]
    expected_count = (48000 - 80) // 320
    torch.testing.assert_close(blocks, torch.cat(expected)[:expected_count])
    assert len(encoder.features_in_blocks(noise(200))) == 0


def test_pieces_cover_everything_and_their_weights_add_up():
    for count, piece, overlap in ((399, 150, 50), (1001, 1000, 100), (90, 100, 10)):
        starts, total = piece_starts(count, piece, overlap), torch.zeros(count)
        size = min(piece, count)
        for i, start in enumerate(starts):
            before = starts[i - 1] + size - start if i else 0
            after = start + size - starts[i + 1] if i + 1 < len(starts) else 0
            assert i == 0 or before >= overlap
            total[start : start + size] += fades(size, before, after)
        torch.testing.assert_close(total, torch.ones(count))


def test_progress_may_interrupt():
    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        assert (done, total) == (1, 2)
        raise StopHereError

    with pytest.raises(StopHereError):
        Wav2Vec2Features(tiny()).features(noise(16000), stop, piece=30, overlap=5)


def test_other_networks_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(PayloadError, match=r"config.json and model.safetensors"):
        wav2vec2.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PayloadError, match="holds a bert network; wav2vec2 or hubert"):
        wav2vec2.load(tmp_path)


def test_the_names_that_atl_diff_published_are_known():
    lines = shared("design/keys/keys_atldiff_kflm_w2v.txt").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    shapes = {name: tuple(int(n) for n in re.findall(r"\d+", shape)) for name, shape, _ in rows}
    with torch.device("meta"):
        loaded = checkpoints.load("wav2vec2", {k: torch.empty(s) for k, s in shapes.items()})
    assert loaded.config.num_attention_heads == 12
    assert loaded.config.feat_extract_norm == "group"
    assert len(shapes) == 210
