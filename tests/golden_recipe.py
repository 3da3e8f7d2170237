"""The deterministic weights and inputs behind the golden numbers of the shared folder."""

import importlib.util
from functools import cache

import numpy as np
import torch

from .helpers import shared
from .pseudo_weights import shapes

FOLDER = "golden/moditalker_atldiff"


@cache
def recipe():
    """The module that comes with the numbers."""
    spec = importlib.util.spec_from_file_location("recipe", shared(f"{FOLDER}/recipe.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def golden(name):
    """The arrays of one file."""
    with np.load(shared(f"{FOLDER}/{name}.npz")) as stored:
        return {key: torch.from_numpy(np.asarray(stored[key])) for key in stored}


def state(key_list, net):
    """Upstream's state dict; what upstream computes itself is left out."""
    sizes = shapes(shared(f"design/keys/{key_list}.txt"))
    return {key: torch.from_numpy(value) for key, value in recipe().state(sizes, net).items()}


def given(name, shape, scale=1.0, offset=0.0):
    """The input called `name`."""
    return torch.from_numpy(recipe().inp(name, shape, scale, offset))


def error(found, wanted):
    """Largest difference in standard deviations of what is wanted."""
    return float((found.double() - wanted.double()).abs().max() / wanted.double().std())
