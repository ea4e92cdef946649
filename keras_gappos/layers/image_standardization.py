"""Standardize images per channel, as a layer that travels with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="keras_gappos")
class ImageStandardization(keras.layers.Rescaling):
    """Divides raw images by their white, subtracts a mean and divides by a standard deviation.

    Inputs: `(..., height, width, channels)`, of any dtype. Outputs: of the same shape, float32
    unless `dtype` says otherwise. In `ds.map` of a `tf.data.Dataset` it works on every backend.

    Args:
        mean: of each channel, for images in [0, 1].
        std: standard deviation of each channel, for images in [0, 1], above 0.
        white: the images' highest value: 255 for raw ones, 1 for images in [0, 1].

    Raises:
        ValueError: for a mean and a std of different lengths, or a std or white not above 0.

    Examples:
        >>> layer = keras_gappos.layers.ImageStandardization(mean=[0.5], std=[0.25])
        >>> layer(np.array([0, 255], "uint8").reshape(2, 1, 1, 1))[:, 0, 0, 0].tolist()
        [-2.0, 2.0]
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], white: float = 255.0, **kwargs
    ) -> None:
        self.mean, self.std, self.white = list(mean), list(std), white
        if not 0 < len(self.mean) == len(self.std) or not min(*self.std, white) > 0:
            raise ValueError(
                "`mean` and `std` must have a number for each channel, and `std` and `white` be "
                f"above 0. Received: mean={mean}, std={std}, white={white}"
            )
        super().__init__(
            scale=[1 / (white * deviation) for deviation in self.std],
            offset=[-center / deviation for center, deviation in zip(self.mean, self.std)],
            **{"dtype": "float32", **kwargs},
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = super().get_config()
        del config["scale"], config["offset"]
        return {**config, "mean": self.mean, "std": self.std, "white": self.white}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None):
        """Makes the layer from its configuration."""
        return cls(**config)
