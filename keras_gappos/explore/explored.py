"""A model that the page explores: its network, how it takes images, and what its outputs mean."""

from __future__ import annotations

import functools
import pathlib

import keras
import numpy as np

from keras_gappos import zoo
from keras_gappos.layers import ImageStandardization

PIXELS = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}
_SHOWN = 3  # answers of an image


class Explored:
    """A loaded model.

    Attributes:
        name: what the page calls it.
        network: the `keras.Model`, of prepared images.
        image_shape: `(height, width, channels)` of its input.
        task: `"classification"` or `"segmentation"`.
        class_names: a name for each output.
    """

    def __init__(self, name, network, prepare, class_names=None, fill=0.0):
        self.name, self.network, self._prepare, self.fill = name, network, prepare, fill
        self.image_shape, self.task, classes = _read_shapes(network)
        self.class_names = list(class_names or map(str, range(classes)))

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Raw images, uint8 `(n, *image_shape)`, as the network takes them, float32."""
        return np.asarray(self._prepare(images.astype("float32")), "float32")

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs as probabilities: a softmax unless they are probabilities already."""
        outputs = np.asarray(outputs, "float64")
        if (outputs >= 0).all() and np.allclose(outputs.sum(-1), 1, atol=1e-3):
            return outputs
        outputs = np.exp(outputs - outputs.max(-1, keepdims=True))
        return outputs / outputs.sum(-1, keepdims=True)

    def answers(self, outputs: np.ndarray) -> list[list[tuple[str, float]]]:
        """The most probable classes of each image, with their probabilities in percent."""
        probabilities = self.probabilities(outputs)
        best = np.argsort(-probabilities, axis=-1)[:, :_SHOWN]
        return [
            [(self.class_names[index], round(100 * float(row[index]), 1)) for index in indices]
            for row, indices in zip(probabilities, best)
        ]

    def describe(self) -> dict:
        """What the page needs to know of the model."""
        return {
            "name": self.name,
            "task": self.task,
            "image_shape": self.image_shape,
            "class_names": self.class_names,
            "mean_color": [float(part) for part in np.broadcast_to(self.fill, 3)],
        }


def load_explored(name_or_path: str, pixels: str | None = None) -> Explored:
    """Loads a model by its name in the zoo, or from a `.keras` file in safe mode.

    Args:
        name_or_path: such as `"augshift_resnet18.cifar10"` or `"my_model.keras"`.
        pixels: the values that a `.keras` model takes: "0..255", "0..1" or "-1..1"; `None` goes by
            its first layers: "0..255" if they rescale or normalize, otherwise "0..1".

    Raises:
        ValueError: for an unknown name, a file that is no model or asks to run code, or a model
            that does not take one image or gives neither classes nor a class for each pixel.
        FileNotFoundError: if there is no such file.
    """
    if not name_or_path.endswith((".keras", ".h5", ".hdf5")):
        return _from_zoo(name_or_path)
    path = pathlib.Path(name_or_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {name_or_path}")
    return read_model(path, path.stem, pixels)


def read_model(path: pathlib.Path, name: str, pixels: str | None = None) -> Explored:
    """Loads a `.keras` file; see `load_explored`."""
    if path.suffix != ".keras":
        raise ValueError(
            "The model must be a .keras file, as `model.save` writes it: an older format cannot "
            f"be read safely. Received: {path.name}"
        )
    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        if "safe_mode" in str(error) or "Lambda" in str(error):
            raise ValueError(
                f"{name} has a layer that runs code from the file, which is not allowed here. "
                "Replace it with a layer of Keras."
            ) from error
        raise ValueError(
            f"{name} is no .keras model that can be loaded: {_first_line(error)}"
        ) from error
    if pixels is None:
        pixels = "0..255" if _rescales(network) else "0..1"
    scale, offset = PIXELS[pixels]
    return Explored(name, network, lambda images: images * scale + offset)


def _from_zoo(name):
    info = zoo.info(name)
    if info.is_on_grid:
        raise ValueError(
            f"{name} takes an image on a grid: the page has it under Location. Name a classifier "
            "or a segmentation network."
        )
    standardize = functools.partial(_standardized, info.mean, info.std)
    fill = 255 * np.asarray(info.mean, "float32")
    return Explored(name, zoo.load(name), standardize, info.class_names, fill)


def _standardized(mean, std, images):
    return (images / 255 - np.asarray(mean, "float32")) / np.asarray(std, "float32")


def _read_shapes(network):
    inputs, outputs = network.inputs, network.outputs
    image = tuple(inputs[0].shape) if len(inputs or ()) == 1 else ()
    if len(image) != 4 or image[-1] not in (1, 3) or len(outputs) != 1:
        raise ValueError(
            "The model must take one image (height, width, 1 or 3) and give one output. Received: "
            f"inputs {[tuple(x.shape) for x in inputs or ()]}, outputs "
            f"{[tuple(x.shape) for x in outputs or ()]}"
        )
    image_shape = tuple(side or 64 for side in image[1:3]) + image[3:]
    rank, classes = len(outputs[0].shape), outputs[0].shape[-1]
    if rank not in (2, 4) or not classes or classes < 2:
        raise ValueError(
            "The model must give two classes or more: (batch, classes), or (batch, height, width, "
            f"classes) for segmentation. Received: {tuple(outputs[0].shape)}"
        )
    return image_shape, "classification" if rank == 2 else "segmentation", classes


def _rescales(network):
    kinds = (keras.layers.Rescaling, keras.layers.Normalization, ImageStandardization)
    return any(isinstance(layer, kinds) for layer in network.layers[:4])


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
