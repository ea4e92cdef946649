"""Loads PyTorch weights into the package's networks."""

import dataclasses
import pathlib
import pickle
import re

import keras
import numpy as np

from keras_gappos.layers import BlurPool2D

_PREFIX = "module."  # of each key saved from a DataParallel
_NESTED = ("net", "state_dict", "model")  # entries of a checkpoint that hold the weights
# Names of a Keras layer's variables, and PyTorch's.
_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_HEADS = ("fc", "linear", "linear_location")
_BLOCK = re.compile(r"stage(\d)_block(\d+)_(shortcut_)?(conv|bn)(\d?)")
_FILTER = ".filt"  # suffix of a BlurPool's key
# Keys that must be used, or the network would be another one.
_ESSENTIAL = re.compile(r"(layer\d+\.|pre_classifier\.).*(weight|bias|running_mean|running_var)")


@dataclasses.dataclass(frozen=True)
class PyTorchReport:
    """How the keys of a PyTorch state dict were used.

    Attributes:
        used: dictionary from key, without `module.`, to the path of its Keras variable.
        left_over: unused keys, such as `num_batches_tracked`, the fixed filters of BlurPool, or a
            dense layer that the network does not have.
    """

    used: dict[str, str]
    left_over: tuple[str, ...]

    def __str__(self):
        lines = [f"{key} -> {path}" for key, path in self.used.items()]
        lines += [f"{key} left over" for key in self.left_over]
        return "\n".join(lines)


def load_pytorch_weights(model: keras.Model, path: str | pathlib.Path) -> PyTorchReport:
    """Loads a PyTorch weights file into a network.

    Reads ResNets of the paper's authors (`conv1`, `layer1.0.conv1`, `shortcut.0`, `pre_classifier`,
    `linear_location`), of torchvision and timm (`downsample.0`, `fc`) and of antialiased-cnns into
    `resnet`, `gapnet` and `permutenet` of the same depth, width and outputs. Keys may start with
    `module.`, and the weights may be in an entry `net`, `state_dict` or `model`. Either all
    variables are assigned or none.

    Weights do not show strides and pools. All of these networks but the authors' are our `resnet`
    with `stem="imagenet"`: those of antialiased-cnns with `downsampling="blur"`, timm's
    `resnetblur50` with "timm_blur" and `resnetaa50` with "timm_average". timm's weights
    `resnetblur50.bt_in1k` and `resnetaa50.a1h_in1k` have an Apache-2.0 license; those of
    antialiased-cnns are non-commercial.

    Args:
        model: a network of `keras_gappos.models`.
        path: a `.safetensors` file, or a file written by `torch.save`, which is read with
            `weights_only=True`.

    Returns:
        A `PyTorchReport`: the used and the unused keys.

    Raises:
        ValueError: if the file cannot be read, a weight is missing or has another shape, or the
            weights are those of a network with more blocks, another head or other BlurPools.
        FileNotFoundError: if the file does not exist.
        ImportError: if torch or safetensors is not installed.

    Examples:
        >>> model = keras_gappos.models.resnet(50, (224, 224, 3), 1000, stem="imagenet")
        >>> report = load_pytorch_weights(model, "resnet50.pth")  # doctest: +SKIP
        >>> len(report.used)  # doctest: +SKIP
        267
    """
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"`path` must be a file. Received: path={str(path)!r}")
    return assign_weights(model, _read(path))


def assign_weights(model: keras.Model, state_dict: dict) -> PyTorchReport:
    """Fills a network with the weights of a PyTorch state dict.

    Args:
        model: a network of `keras_gappos.models`.
        state_dict: dictionary from PyTorch's keys to NumPy arrays or PyTorch tensors in PyTorch's
            layout; or a dictionary with this one in an entry `net`, `state_dict` or `model`.

    Returns:
        A `PyTorchReport`.

    Raises:
        ValueError: as in `load_pytorch_weights`; nothing is assigned then.
    """
    arrays = _plain_keys(state_dict)
    found = _pair(model, arrays)
    used = {key: variable.path for key, variable, _ in found}
    left_over = tuple(key for key in arrays if key not in used)
    _check_left_over(model, arrays, left_over)
    for _, variable, value in found:
        variable.assign(value)
    return PyTorchReport(used, left_over)


def _pair(model, arrays):
    """The key and the value of each variable: `(key, variable, value)` tuples."""
    found = []
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name not in _VARIABLES:
                continue  # the state of a random generator
            key = _find_key(model, layer, variable, arrays)
            value = _keras_layout(arrays[key])
            if value.shape != tuple(variable.shape):
                raise ValueError(
                    f"`model` must have the weights' depth, width and outputs. Received: {key} of "
                    f"shape {arrays[key].shape}, for {variable.path} of shape "
                    f"{tuple(variable.shape)}"
                )
            found.append((key, variable, value))
    return found


def _check_left_over(model, arrays, left_over):
    essential = [key for key in left_over if _ESSENTIAL.fullmatch(key)]
    if essential:
        raise ValueError(
            f"`model` must use all weights. Received: {model.name!r}, which does not use "
            f"{essential[0]} ({len(essential)} such keys)"
        )
    theirs = [arrays[key].shape[-1] for key in left_over if key.endswith(_FILTER)]
    ours = [layer.kernel_size for layer in model.layers if isinstance(layer, BlurPool2D)]
    if theirs and sorted(theirs) != sorted(ours):
        raise ValueError(
            "`model` must have the weights' BlurPools; build it with downsampling='blur'. "
            f"Received: {model.name!r} with kernel sizes {ours}, for weights with {theirs}"
        )


def pytorch_layers(name: str) -> tuple[str, ...]:
    """The names of one of our layers in PyTorch's ResNets, the likeliest first.

    Args:
        name: name of a layer of `keras_gappos.models`.

    Examples:
        >>> pytorch_layers("stage2_block1_conv2")
        ('layer2.0.conv2', 'layer2.0.conv2.1')
    """
    plain = {
        "stem_conv": ("conv1",),
        "stem_bn": ("bn1",),
        "class_conv": ("pre_classifier",),
        "logits": _HEADS,
    }
    match = _BLOCK.fullmatch(name)
    if match is None:
        return plain.get(name, ())
    stage, block, shortcut, kind, number = match.groups()
    block = f"layer{stage}.{int(block) - 1}"
    if shortcut:
        # A `downsample` may have a BlurPool before its convolution.
        places = {"conv": ("shortcut.0", "downsample.0", "downsample.1")}
        places["bn"] = ("shortcut.1", "downsample.2", "downsample.1")
        return tuple(f"{block}.{place}" for place in places[kind])
    names = (f"{block}.{kind}{number}",)
    # A BlurPool before a convolution makes a Sequential of the two.
    return names if kind == "bn" else (*names, f"{names[0]}.1")


def _find_key(model, layer, variable, arrays):
    keys = [f"{name}.{_VARIABLES[variable.name]}" for name in pytorch_layers(layer.name)]
    if not keys:
        raise ValueError(
            "`model` must be a resnet, gapnet or permutenet of keras_gappos.models. "
            f"Received: {model.name!r}, with weights in a layer {layer.name!r}"
        )
    key = next((key for key in keys if key in arrays), None)
    if key is None:
        raise ValueError(
            f"`model` must have no more layers than the weights. Received: {model.name!r} with "
            f"{variable.path}, for weights without {' or '.join(keys)}; they have "
            f"{len(arrays)} keys: {', '.join(list(arrays)[:4])} ..."
        )
    return key


def _keras_layout(array):
    """Transposes a kernel: output channels are last in Keras, first in PyTorch."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.transpose()


def _read(path):
    wanted = "`path` must be a complete {} file. Received: path={!r}"
    if path.suffix == ".safetensors":
        try:
            from safetensors import SafetensorError
            from safetensors.numpy import load_file
        except ImportError as error:
            raise ImportError(
                f"{path.name} needs safetensors: pip install 'keras-gappos[pytorch]'"
            ) from error
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(wanted.format("safetensors", str(path))) from error
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs torch: pip install 'keras-gappos[pytorch]'; a .safetensors file "
            "does not"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Errors for files of other kinds.
    except (pickle.UnpicklingError, EOFError, LookupError, RuntimeError, ValueError) as error:
        kind = "torch.save(model.state_dict())"
        raise ValueError(wanted.format(kind, str(path))) from error


def _plain_keys(content):
    """The state dict in a checkpoint, as arrays, without prefixes of the keys."""
    for entry in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(entry), dict):
            content = content[entry]
    if not isinstance(content, dict):
        raise ValueError(f"A state dict must be a dictionary. Received: {type(content)}")
    arrays = {}
    for key, value in content.items():
        if hasattr(value, "shape"):
            if hasattr(value, "detach"):  # a tensor
                value = value.detach().cpu().float()
            arrays[str(key).removeprefix(_PREFIX)] = np.asarray(value, "float32")
    return arrays
