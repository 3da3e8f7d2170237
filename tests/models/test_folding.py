"""Folded and baked weights compute what the norms they replace computed."""

import torch
from soliloquy.models.folding import bake_spectral_norms, fold_batch_norms
from torch import nn

RULES = ((r"(.*)\.norm", r"\1.conv"),)


def used_batch_norm(channels):
    norm = nn.BatchNorm2d(channels).eval()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


def test_a_batch_norm_becomes_part_of_the_convolution_before_it():
    torch.manual_seed(0)
    block = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "norm": used_batch_norm(4)})
    state = fold_batch_norms(
        {f"a.{key}": value for key, value in block.state_dict().items()}, RULES
    )
    assert sorted(state) == ["a.conv.bias", "a.conv.weight"]
    x = torch.randn(2, 3, 5, 5)
    found = nn.functional.conv2d(x, state["a.conv.weight"], state["a.conv.bias"])
    torch.testing.assert_close(found, block["norm"](block["conv"](x)), atol=1e-5, rtol=1e-5)


def test_a_batch_norm_without_convolution_becomes_scale_and_shift():
    torch.manual_seed(1)
    norm = used_batch_norm(4)
    state = fold_batch_norms({f"first.{k}": v for k, v in norm.state_dict().items()}, RULES)
    assert sorted(state) == ["first.bias", "first.weight"]
    x = torch.randn(2, 4, 5, 5)
    found = x * state["first.weight"].reshape(-1, 1, 1) + state["first.bias"].reshape(-1, 1, 1)
    torch.testing.assert_close(found, norm(x), atol=1e-5, rtol=1e-5)


def test_what_is_incomplete_stays_for_the_strict_load_to_name():
    block = nn.ModuleDict({"conv": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4)}).state_dict()
    absent = {f"a.{key}": value for key, value in block.items() if key != "norm.running_var"}
    assert fold_batch_norms(absent, RULES).keys() == absent.keys()
    misshapen = {f"a.{key}": value for key, value in block.items()}
    misshapen["a.conv.weight"] = torch.zeros(5, 3, 3, 3)
    assert fold_batch_norms(misshapen, RULES).keys() == misshapen.keys()
    spectral = {"conv.weight_orig": torch.zeros(4, 3, 3, 3), "conv.weight_u": torch.zeros(4)}
    assert bake_spectral_norms(spectral).keys() == spectral.keys()


def test_a_spectral_norm_is_baked():
    torch.manual_seed(2)
    layer = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)).eval()
    baked = bake_spectral_norms(layer.state_dict())
    x = torch.randn(2, 3, 5, 5)
    found = nn.functional.conv2d(x, baked["weight"], baked["bias"])
    torch.testing.assert_close(found, layer(x), atol=1e-5, rtol=1e-5)
