"""A diffusers folder is read without diffusers, and what is wrong with one is said."""

import json

import pytest
import torch
from safetensors.torch import save_file
from soliloquy.models.payloads import PayloadError
from soliloquy.models.render.identity_diffusion.folder import load_folder

from .unet3d_weights import SMALL, both, candidates, given, golden, published


def write(folder, config=SMALL, scheduler=None, tag="test", index=None):
    (folder / "unet").mkdir(parents=True)
    (folder / "scheduler").mkdir()
    told = {"_class_name": "UNet3DConditionModel", "sample_size": [128, 32], **config}
    (folder / "unet" / "config.json").write_text(json.dumps(told))
    found = {"_class_name": "DDIMScheduler", **(scheduler or {})}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(found))
    named = {
        "unet": ["diffusers", "UNet3DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        **(index or {}),
    }
    (folder / "model_index.json").write_text(json.dumps(named))
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(published(config, tag), weights)
    return folder


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_the_pipeline_gives_the_golden_clip(tmp_path, prediction):
    folder = write(tmp_path / "CREMA", candidates()["A4"], {"prediction_type": prediction}, "A4")
    loaded, seen = load_folder(folder), []
    noise, context = given("u3_noise", (1, 3, 8, 16, 12)), given("u3_ctx1", (1, 64, 48))
    with torch.inference_mode():
        clip = loaded.sample(noise, context, on_step=lambda *step: seen.append(step))
    wanted = golden()[f"A4_pipe8_{prediction}"]
    assert float((clip[..., ::2] - wanted).abs().max() / wanted.std()) < 1e-3
    assert seen == [(i, 8) for i in range(1, 9)]


def test_the_network_is_the_configurations(tmp_path):
    loaded = load_folder(write(tmp_path / "folder"))
    expected, _ = both(SMALL)
    assert loaded.unet.config == expected.config
    x, context = torch.randn(1, 3, 2, 4, 4), torch.randn(1, 3, 10)
    assert torch.allclose(loaded.unet(x, 5, context), expected(x, 5, context), atol=1e-4)


def test_a_weight_file_of_another_name_is_taken_where_it_is_the_only_one(tmp_path):
    folder = write(tmp_path / "folder")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(folder / "unet" / "model.safetensors")
    assert load_folder(folder).unet.config.block_out_channels == (8, 16)
    (folder / "unet" / "model.safetensors").unlink()
    with pytest.raises(PayloadError, match="has no 'unet/diffusion_pytorch_model"):
        load_folder(folder)


@pytest.mark.parametrize("path", ["unet/config.json", "scheduler/scheduler_config.json"])
def test_absent_and_broken_configurations_are_named(tmp_path, path):
    folder = write(tmp_path / "folder")
    (folder / path).write_text("{")
    with pytest.raises(PayloadError, match=f"'{path}' is not JSON"):
        load_folder(folder)
    (folder / path).write_text("[]")
    with pytest.raises(PayloadError, match=f"'{path}' holds no configuration"):
        load_folder(folder)
    (folder / path).unlink()
    with pytest.raises(PayloadError, match=f"There is no '{path}'"):
        load_folder(folder)
    with pytest.raises(PayloadError, match="There is no folder"):
        load_folder(tmp_path / "nowhere")


def test_folders_of_other_networks_are_refused(tmp_path):
    index = {"unet": ["diffusers", "UNet2DConditionModel"]}
    with pytest.raises(PayloadError, match="its unet is UNet2DConditionModel"):
        load_folder(write(tmp_path / "a", index=index))
    with pytest.raises(PayloadError, match="scheduler is a PNDMScheduler"):
        load_folder(write(tmp_path / "b", scheduler={"_class_name": "PNDMScheduler"}))
