"""Files of a made-up Basel face model: the published keys, other numbers, and few of them."""

import numpy as np
import torch
from scipy.io import savemat
from soliloquy.models.motion import face_model
from torch import nn

from ..plain_resnet import PlainResNet, lived

VERTICES = 90


def write_model(folder, seed=0):
    """`BFM_model_front.mat` with 90 vertices; returns the arrays."""
    random = np.random.default_rng(seed)
    arrays = {
        "meanshape": random.normal(size=(1, 3 * VERTICES)),
        "idBase": random.normal(size=(3 * VERTICES, 80)),
        "exBase": random.normal(size=(3 * VERTICES, 64)),
        "keypoints": random.permutation(VERTICES - 1)[:68][None] + 1.0,
    }
    savemat(folder / face_model.MODEL_FILE, arrays)
    return arrays


class Plain(nn.Module):
    """The published network of any width, with its batch norms."""

    def __init__(self, width=4):
        super().__init__()
        self.backbone = PlainResNet(width)
        channels = self.backbone.channels
        self.final_layers = nn.ModuleList(nn.Conv2d(channels, p, 1) for p in face_model.PARTS)

    def forward(self, x):
        x = self.backbone(x)[..., None, None]
        return torch.cat([layer(x).flatten(1) for layer in self.final_layers], 1)


def plain_network(seed=0):
    """With batch norms that have seen something."""
    torch.manual_seed(seed)
    return lived(Plain())


def write_network(folder):
    """`epoch_20.pth`; returns the network."""
    module = plain_network()
    state = {"net_recon": module.state_dict(), "optimizer_00": {"state": {}}}
    torch.save(state, folder / face_model.NETWORK_FILE)
    return module
