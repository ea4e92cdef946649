import io

import numpy as np
import pytest
from PIL import Image

from keras_gappos.explore.images import MAX_PIXELS, fit, images_to_rank_by, read_image, samples


def encoded(image, kind="png", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


GRAY = np.linspace(0, 255, 48).reshape(6, 8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GRAY.astype("uint8")),
        Image.fromarray((GRAY * 257).astype("uint16")),
        Image.fromarray(GRAY.astype("uint8")).convert("P"),
        Image.fromarray(GRAY.astype("uint8")).convert("LA"),
        Image.fromarray(GRAY.astype("uint8")).convert("RGBA"),
        Image.fromarray(GRAY.astype("uint8")).convert("RGB"),
    ],
    ids=lambda image: image.mode,
)
def test_every_mode_becomes_rgb(image):
    read = read_image(encoded(image))
    assert (read.shape, read.dtype) == ((6, 8, 3), "uint8")
    np.testing.assert_allclose(read, np.repeat(GRAY[..., None], 3, -1), atol=1.01)


def test_one_bit_and_transparent_images_are_shown_as_on_white():
    bits = Image.fromarray(GRAY > 128)
    assert set(np.unique(read_image(encoded(bits)))) == {0, 255}
    assert (read_image(encoded(Image.new("RGBA", (4, 4), (9, 9, 9, 0)))) == 255).all()


def test_a_photograph_is_turned_upright():
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[274] = 6  # orientation: turned by 90 degrees
    assert read_image(encoded(image, "jpeg", exif=exif)).shape == (8, 4, 3)


def test_a_large_image_is_kept_small():
    assert read_image(encoded(Image.new("L", (4000, 100)))).shape == (16, 640, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no image"),
        (b"<html>", "no image"),
        (encoded(Image.new("RGB", (64, 64), "red"))[:60], "broken"),
        (encoded(Image.new("1", (MAX_PIXELS // 1000 + 1, 1000))), "at most 50 million pixels"),
        (encoded(Image.new("1", (MAX_PIXELS // 1000 * 5, 1000))), "at most 50 million pixels"),
    ],
    ids=["empty", "html", "cut off", "too large", "much too large"],
)
def test_what_is_no_image_is_said(content, message):
    with pytest.raises(ValueError, match=message):
        read_image(content)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 4, 1), (6, 3, 3), (12, 16, 1)])
def test_the_middle_of_an_image_fits_a_model(shape):
    image = np.zeros((6, 8, 3), "uint8")
    image[2:4, 3:5] = 255  # in the middle
    fitted = fit(image, shape)
    assert (fitted.shape, fitted.dtype) == (shape, "uint8")
    np.testing.assert_array_equal(fitted, fitted[::-1, ::-1])
    assert fitted[shape[0] // 2, shape[1] // 2].min() > 100


def test_samples_and_the_images_to_rank_by_are_embedded():
    assert {image.shape[-1] for image in samples().values()} == {3}
    assert images_to_rank_by((32, 32, 3), 4).shape == (4, 32, 32, 3)
    assert images_to_rank_by((8, 8, 1), 4).std() > 0
