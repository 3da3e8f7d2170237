"""Files as published, full of pseudo-weights: what a user has in the models folder, except the
training."""

from dataclasses import asdict

import torch
from safetensors.torch import save_file
from soliloquy.models import checkpoints

from .helpers import shared
from .models.motion import kdtalker_weights
from .models.render.liveportrait import parity
from .pseudo_weights import shapes, state_dict

LIVEPORTRAIT = {
    "appearance": "appearance_feature_extractor",
    "motion": "motion_extractor",
    "warping": "warping_module",
    "generator": "spade_generator",
}
SMALL = {
    "stitching": "retarget_shoulder",
    "retarget_lip": "retarget_mouth",
    "retarget_eye": "retarget_eye",
}


def write_liveportrait(folder, names=tuple(LIVEPORTRAIT)):
    """Its networks as safetensors; the three small ones share a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        save_file(parity.published(name), folder / f"{LIVEPORTRAIT[name]}.safetensors")
    small = {
        f"{part}_module.{key}": value
        for name, part in SMALL.items()
        for key, value in parity.published(name).items()
    }
    save_file(small, folder / "stitching_retargeting_module.safetensors")


def write_kdtalker(folder, **sizes):
    """KDTalker and Wav2Lip as PyTorch files."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": kdtalker_weights.published(**sizes)}, folder / "KDTalker.pth")
    keys = shared("design/keys/keys_wav2lip_audio_encoder.txt")
    torch.save({"state_dict": state_dict(shapes(keys), "A")}, folder / "wav2lip.pth")


def write_mtov(folder):
    """MToV's three networks in the sizes of our own recipe, a few megabytes."""
    from soliloquy.models.render.mtov.autoencoder import TriplaneAutoencoder
    from soliloquy.models.render.mtov.unet import TriplaneUNet
    from soliloquy.training.mtov import small_motion_autoencoder, small_unet

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    networks = {
        "autoencoder_rgb": TriplaneAutoencoder(small_motion_autoencoder()),
        "autoencoder_motion": TriplaneAutoencoder(small_motion_autoencoder()),
        "diffusion_model": TriplaneUNet(small_unet()),
    }
    for name, network in networks.items():
        checkpoints.save(network, folder / f"{name}.safetensors", asdict(network.config))


def write_identity_diffusion(folder):
    """ATL-Diff's small renderer, untrained: the portrait, moved by its landmarks."""
    from soliloquy.models.render.identity_diffusion.network import IdentityDiffusion

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    network = IdentityDiffusion()
    path = folder / "identity_diffusion.safetensors"
    checkpoints.save(network, path, asdict(network.config))
