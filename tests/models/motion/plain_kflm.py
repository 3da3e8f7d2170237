"""The published landmark head, written down plainly with the layers of PyTorch."""

import torch
from soliloquy.models.motion.kan import KAN, KANConfig
from torch import nn

MOUTH = [*range(49, 68), 48]


class PlainTransformer(nn.Module):
    def __init__(self, points, heads, audio, frames):
        super().__init__()
        encoder = nn.TransformerEncoderLayer(audio, heads)
        self.transformer_encoder = nn.Sequential(
            nn.TransformerEncoder(encoder, 1, enable_nested_tensor=False),
            nn.Linear(audio, 2 * points),
        )
        decoder = nn.TransformerDecoderLayer(2 * points, heads)
        self.transformer_decoder = nn.TransformerDecoder(decoder, 1)
        self.conv = nn.Conv1d(1, frames, 1)

    def forward(self, features, rest):
        return self.transformer_decoder(self.conv(rest), self.transformer_encoder(features))


class PlainKFLM(nn.Module):
    """Batch 1, as the published program calls it."""

    def __init__(self, audio=768, frames=49):
        super().__init__()
        self.trans_ct = PlainTransformer(68, 1, audio, frames)
        self.trans_gb = PlainTransformer(68, 2, audio, frames)
        self.trans_gbm = PlainTransformer(20, 2, audio, frames)
        self.lstm = nn.LSTM(audio, 68, batch_first=True, bidirectional=True)
        self.mouth = nn.LSTM(audio, 20, batch_first=True, bidirectional=True)
        self.R1 = fusion(3 * frames, 256)
        self.R2 = nn.Sequential(nn.Conv2d(3 * frames, 30, 1))
        self.R3 = fusion(2 * frames, 128)
        self.KAN = KAN(KANConfig())

    def forward(self, f, v, emotion):
        rest = v.reshape(1, 1, 136)
        told = f * torch.softmax(emotion.float(), dim=0)
        parts = [self.lstm(told)[0], self.trans_gb(f, rest), self.trans_ct(told, rest)]
        x = torch.cat(parts, dim=1).view(1, -1, 2, 68)
        gbm = self.trans_gbm(f, v[..., MOUTH].reshape(1, 1, 40))
        mouth = torch.cat([self.mouth(told)[0], gbm], dim=1).view(1, -1, 2, 20)
        y = self.R1(x) * self.R2(x)
        y[..., MOUTH] = self.R3(mouth)
        return self.KAN(y)


def fusion(inputs, channels):
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
        nn.ReLU(),
        nn.Conv2d(channels, 30, 3, padding=1),
    )


NAMES = {"base": "base_weight", "spline": "spline_weight", "scale": "spline_scaler"}


def published(plain):
    """Its state dict under the published names."""
    state = {}
    for key, value in plain.state_dict().items():
        stem, _, last = key.rpartition(".")
        name = {**NAMES, "knots": "grid"}.get(last, last) if stem.startswith("KAN") else last
        state[f"{stem}.{name}"] = value.clone()
    return state
