"""Images for the page: embedded samples, and uploads read with care."""

from __future__ import annotations

import io
import warnings

import numpy as np

from keras_gappos import data
from keras_gappos.data.resizing import resize_image

MAX_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
_STORED = 640  # longest side that is kept, in pixels


def read_image(content: bytes) -> np.ndarray:
    """Decodes an uploaded image.

    Args:
        content: the bytes of a file that Pillow reads, at most `MAX_BYTES`.

    Returns:
        uint8 `(height, width, 3)`, at most 640 pixels on its longest side. Gray images, palettes,
        16 bits and transparency (on white) are converted; a photograph is turned upright.

    Raises:
        ValueError: for a file that is no image, is broken, or has more than `MAX_PIXELS` pixels.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"The image must have at most {MAX_PIXELS // 1_000_000} million pixels. It has "
                f"{image.width} x {image.height}."
            )
        image.thumbnail((_STORED, _STORED))
        return _as_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError:
        raise ValueError(
            f"The image must have at most {MAX_PIXELS // 1_000_000} million pixels."
        ) from None
    except (OSError, SyntaxError, EOFError) as error:  # Pillow's for no image, or a broken one
        raise ValueError(
            "The file is no image that can be read, or it is broken. PNG and JPEG files will do."
        ) from error


def _as_rgb(image):
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":  # 16 bits or more a pixel
        values = np.asarray(image, "float64")
        values = values / 257 if values.max() > 255 else values
        image = Image.fromarray(np.clip(values, 0, 255).astype("uint8"))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def fit(image: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """An image as a model takes it: the largest part in the middle of its shape, resized.

    Args:
        image: uint8 `(height, width, 1 or 3)`.
        image_shape: `(height, width, channels)` of the model's input; 1 or 3 channels.

    Returns:
        uint8 `image_shape`.
    """
    height, width, channels = image_shape
    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    top, left = (rows - scale * height) / 2, (columns - scale * width) / 2
    box = (top, left, top + scale * height, left + scale * width)
    resized = resize_image(image, (height, width), box)
    if channels == 1 and resized.shape[-1] == 3:
        luma = resized @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
        return np.rint(luma)[..., None].astype("uint8")
    return np.broadcast_to(resized, image_shape).copy()


def samples() -> dict[str, np.ndarray]:
    """The images that come with the package's dependencies: uint8 `(height, width, 3)`, by name."""
    from sklearn.datasets import load_sample_image

    scenes, _ = data.load("shapes", "test", limit=2)
    digits, _ = data.load("digits", "test", limit=2)
    return {
        "flower": load_sample_image("flower.jpg"),
        "temple": load_sample_image("china.jpg"),
        "shapes": scenes[0],
        "more shapes": scenes[1],
        "digit": np.repeat(digits[0], 3, axis=-1),
    }


def images_to_rank_by(image_shape: tuple[int, int, int], count: int = 64) -> np.ndarray:
    """Embedded images by which a model's channels are ranked: uint8 `(count, *image_shape)`."""
    name = "digits" if image_shape[-1] == 1 else "shapes"
    images, _ = data.load(name, "train", limit=count)
    return np.stack([fit(image, image_shape) for image in images])
