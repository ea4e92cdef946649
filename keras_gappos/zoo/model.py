"""The registry entry of a pretrained model."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_gappos.arguments import Tensor
from keras_gappos.layers import ImageStandardization


@dataclasses.dataclass(frozen=True)
class ZooFile:
    """A file of a pretrained model.

    Attributes:
        path: relative to the zoo's root, with forward slashes.
        bytes: size in bytes.
        sha256: its SHA-256 digest, 64 hexadecimal digits.
        unpacked_bytes: total unpacked size of an archive.
    """

    path: str
    bytes: int
    sha256: str
    unpacked_bytes: int | None = None

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True)
class ZooModel:
    """A pretrained model: network, inputs, scores, training and files.

    Attributes:
        name: `architecture.tag`, such as `"augshift_resnet18.cifar10"`.
        builder: the function of `keras_gappos.models` that builds the network.
        arguments: the builder's keyword arguments.
        about: how it was built and trained, in sentences.
        task: `"classification"`, `"location"` (of an image on a grid) or `"segmentation"`.
        grid_size: cells along each side of the input canvas; 1 means plain images.
        dataset: name of the training data set.
        data_license: the data set's license, in a sentence.
        data_note: a note about the data; may be empty.
        class_names: the class or cell of each output.
        image_shape: `(height, width, channels)` of one image, before placement on a canvas.
        mean, std: per channel, for images in [0, 1]; the input is `(images - mean) / std`.
        metrics: measured scores by name, in percent.
        paper: the paper's scores, by the same names, if the training compares with the paper's.
        chance: the accuracy of guessing, in percent; `None` for segmentation.
        measured: how the metrics were measured, in sentences.
        parameters: number of weights, including those that are not trained.
        epochs: passes over the training images.
        train_images: number of training images.
        experiment: the experiment that trained it, such as `"invariance"`.
        settings: the experiment's settings, including the seed.
        key: the entries that identify its row in the experiment's results.
        command: the command that trained it.
        results: the `results.json` with the metrics, relative to the project's root.
        commit: the project's commit that recorded the metrics.
        versions: versions of this package, Keras, the backend, NumPy and Python; the device.
        files: a `ZooFile` each for `"weights"`, `"saved_model"` and `"sample"`.
    """

    name: str
    builder: str
    arguments: dict
    about: str
    task: str
    grid_size: int
    dataset: str
    data_license: str
    data_note: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    metrics: dict[str, float]
    paper: dict[str, float]
    chance: float | None
    measured: str
    parameters: int
    epochs: int
    train_images: int
    experiment: str
    settings: dict
    key: dict
    command: str
    results: str
    commit: str
    versions: dict[str, str]
    files: dict[str, ZooFile]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of the network's input."""
        height, width, channels = self.image_shape
        return (self.grid_size * height, self.grid_size * width, channels)

    @property
    def seed(self) -> int:
        """The seed of the training."""
        return self.settings["seed"]

    @property
    def compared_layer(self) -> str | None:
        """The layer whose output `verify` compares, if the network's output is random."""
        return "latent" if self.is_random else None

    @property
    def is_on_grid(self) -> bool:
        """Whether the inputs are canvases with an image on one cell of a grid."""
        return self.grid_size > 1

    @property
    def is_random(self) -> bool:
        """Whether the network's outputs are random by design."""
        return self.builder == "permutenet"

    def preprocessing(self, white: float = 255.0) -> ImageStandardization:
        """The layer that standardizes images; see `preprocess`.

        Args:
            white: the images' highest value: 255 for raw ones, 1 for images in [0, 1].
        """
        return ImageStandardization(self.mean, self.std, white, name="preprocessing")

    def preprocess(self, images: Tensor) -> Tensor:
        """Standardizes images for the network; for a grid, place them on a canvas afterwards.

        Args:
            images: `(n, height, width, channels)`, or one image without `n`: uint8 in [0, 255], or
                floats in [0, 1]; an array or a tensor, in `ds.map` of a `tf.data.Dataset`, too.

        Returns:
            A float32 array or tensor of the same shape.

        Raises:
            ValueError: for another shape, or floats that are not in [0, 1], where their values are
                known: in a graph they are not.

        Examples:
            >>> info = keras_gappos.zoo.info("resnet18.cifar10")
            >>> info.preprocess(np.zeros((2, 32, 32, 3), "uint8")).shape
            (2, 32, 32, 3)
        """
        if not hasattr(images, "dtype"):
            images = np.asarray(images)
        if len(images.shape) not in (3, 4) or images.shape[-1] != self.image_shape[-1]:
            raise ValueError(
                f"`images` must be (n, height, width, {self.image_shape[-1]}). "
                f"Received: shape {images.shape}"
            )
        is_raw = keras.backend.standardize_dtype(images.dtype) == "uint8"
        if not is_raw:
            _check_unit_range(images)
        outputs = self.preprocessing(255.0 if is_raw else 1.0)(images)
        is_array = isinstance(images, np.ndarray)
        return keras.ops.convert_to_numpy(outputs) if is_array else outputs

    def to_json(self) -> dict:
        """The entry as a JSON-compatible dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, entry: dict) -> ZooModel:
        """Restores an entry from `to_json`; raises a `ValueError` for other keys."""
        names = {field.name for field in dataclasses.fields(cls)}
        if entry.keys() != names:
            raise ValueError(
                f"A registry entry must have the keys {sorted(names)}. Received: {sorted(entry)}"
            )
        lists = ("class_names", "image_shape", "mean", "std")
        entry = {k: tuple(v) if k in lists else v for k, v in entry.items()}
        files = {kind: ZooFile(**file) for kind, file in entry["files"].items()}
        arguments = {
            k: tuple(v) if isinstance(v, list) else v for k, v in entry["arguments"].items()
        }
        return cls(**{**entry, "files": files, "arguments": arguments})


def _check_unit_range(images):
    """Raises a `ValueError` for values outside [0, 1], and NaN, unless they are not known yet."""
    try:
        values = np.asarray(images)
    except (NotImplementedError, TypeError, ValueError):  # in a graph, or symbolic
        return
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            "`images` must be uint8, or floats in [0, 1]. Received: "
            f"{values.dtype} in [{values.min()}, {values.max()}]"
        )
