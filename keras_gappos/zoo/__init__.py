"""Pretrained models: list, fetch, verify and load them."""

from keras_gappos.zoo.cache import cache_folder, fetch
from keras_gappos.zoo.loading import load
from keras_gappos.zoo.model import ZooFile, ZooModel
from keras_gappos.zoo.pytorch_weights import PyTorchReport, load_pytorch_weights
from keras_gappos.zoo.registry import info, list_models
from keras_gappos.zoo.verification import Finding, verify

__all__ = [
    "Finding",
    "PyTorchReport",
    "ZooFile",
    "ZooModel",
    "cache_folder",
    "fetch",
    "info",
    "list_models",
    "load",
    "load_pytorch_weights",
    "verify",
]
