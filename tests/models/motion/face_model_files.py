"""Files of a made-up Basel face model: the published keys, other numbers, and few of them."""

import numpy as np
import torch
from scipy.io import savemat
from soliloquy.models.motion import face_model
from torch import nn

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
    """A ResNet-50 as published, with upstream's names and its batch norms, of any width."""

    def __init__(self, width=4):
        super().__init__()
        backbone = self.backbone = nn.Module()
        backbone.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        backbone.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, count in enumerate(face_model.BLOCKS):
            blocks = []
            for i in range(count):
                stride = 2 if stage and i == 0 else 1
                blocks.append(PlainBlock(channels, width * 2**stage, stride))
                channels = 4 * width * 2**stage
            setattr(backbone, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.final_layers = nn.ModuleList(nn.Conv2d(channels, p, 1) for p in face_model.PARTS)

    def forward(self, x):
        net = self.backbone
        x = nn.functional.max_pool2d(net.bn1(net.conv1(x)).relu(), 3, 2, 1)
        x = net.layer4(net.layer3(net.layer2(net.layer1(x)))).mean((2, 3), keepdim=True)
        return torch.cat([layer(x).flatten(1) for layer in self.final_layers], 1)


class PlainBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = nn.Sequential()
        if stride > 1 or channels != 4 * width:
            conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(y)) + self.downsample(x)).relu()


def plain_network(seed=0):
    """With batch norms that have seen something."""
    torch.manual_seed(seed)
    module = Plain()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 1.5)
    return module.eval().requires_grad_(False)


def write_network(folder):
    """`epoch_20.pth`; returns the network."""
    module = plain_network()
    state = {"net_recon": module.state_dict(), "optimizer_00": {"state": {}}}
    torch.save(state, folder / face_model.NETWORK_FILE)
    return module
