"""The latent vectors of images, batch by batch."""

import numpy as np


class Latents:
    """Runs batches through the part of a network up to the pooled feature map.

    Args:
        parts: the network's `SplitModel`.
        model: the network, which is compiled as it says, if it says so.
        size: number of images in a batch; smaller batches are filled up.
    """

    def __init__(self, parts, model, size):
        latent_model = parts.latent_model()
        latent_model.compile(jit_compile=model.jit_compile if model.compiled else "auto")
        self._model, self._size = latent_model, size

    def of(self, images):
        """The latents of a batch.

        Args:
            images: array `(batch, height, width, channels)`.

        Returns:
            float64 array `(batch, channels)`.

        Raises:
            ValueError: if the network gives NaN or infinite values.
        """
        # A smaller last batch would be compiled anew: fill it up.
        missing = max(0, self._size - len(images))
        filled = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        z = np.asarray(self._model.predict_on_batch(filled))[: len(images)].astype("float64")
        if not np.isfinite(z).all():
            raise ValueError(
                "`model` must give numbers. Received: a model whose feature map has NaN or "
                "infinite values"
            )
        return z
