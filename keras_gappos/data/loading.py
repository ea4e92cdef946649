"""Image-classification data sets by name: embedded ones, and TensorFlow Datasets."""

import difflib
import os
import pathlib

import numpy as np

from keras_gappos.arguments import integer

EMBEDDED = ("digits",)
_DIGITS_TRAIN = 1397  # of 1,797; the last 400 are the test split, by writers of their own


def load(name, split, data_dir=None, limit=None):
    """Loads the images and labels of a data set into memory.

    Args:
        name: `"digits"` (1,797 handwritten digits of 8x8, embedded in scikit-learn) or the name of
            an image-classification set of TensorFlow Datasets, such as `"cifar10"`.
        split: `"train"` or `"test"` for digits, any split expression of TFDS otherwise, such as
            `"train[:90%]"`.
        data_dir: folder of prepared TFDS data sets; a set that is missing there is downloaded into
            it. `None` is TFDS' own folder, `~/tensorflow_datasets`.
        limit: keep the first so many images, at least 1; `None` keeps all.

    Returns:
        `(images, labels)`: uint8 `(n, height, width, channels)` in [0, 255], int64 `(n,)`.

    Raises:
        ValueError: for an unknown name (the nearest is named) or split, a `limit` below 1, a data
            set that is not one of equally sized images with labels.
        FileNotFoundError: for a `data_dir` that does not exist, or a data set that is not there
            and cannot be downloaded; the message says how to get it.
        ImportError: for a TFDS set, if TensorFlow or TFDS are not installed.

    Example:
        >>> images, labels = keras_gappos.data.load("digits", "train", limit=100)
        >>> images.shape
        (100, 8, 8, 1)
    """
    if limit is not None:
        limit = integer("limit", limit, 1)
    if not isinstance(name, str) or not name:
        raise ValueError(f"`name` must be the name of a data set. Received: name={name!r}")
    if name in EMBEDDED:
        images, labels = _load_digits(split)
        return images[:limit], labels[:limit]
    return _load_tfds(name, split, data_dir, limit)


def _load_digits(split):
    from sklearn.datasets import load_digits

    splits = {"train": slice(None, _DIGITS_TRAIN), "test": slice(_DIGITS_TRAIN, None)}
    if split not in splits:
        raise ValueError(f"`split` of 'digits' must be 'train' or 'test'. Received: {split!r}")
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype("uint8")[..., None]  # it has 0..16
    return images[splits[split]], digits.target.astype("int64")[splits[split]]


def _load_tfds(name, split, data_dir, limit):
    tfds = _import_tfds()
    data_dir = _existing_folder(data_dir)
    builder = _builder(tfds, name, data_dir)
    features = builder.info.features
    if not _is_classification(features):
        raise ValueError(
            "`name` must be a data set with the features 'image', of uint8, and 'label', one "
            f"integer. Received: {name!r} with {' '.join(str(features).split())}"
        )
    try:
        stream = builder.as_dataset(split=split)
    except ValueError as error:
        raise ValueError(
            f"`split` must be one of {sorted(builder.info.splits)} of {name!r}, or an expression "
            f"of them. Received: split={split!r}"
        ) from error
    if limit is not None:
        stream = stream.take(limit)
    images, labels = [], []
    for example in tfds.as_numpy(stream):
        images.append(example["image"])
        labels.append(example["label"])
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise ValueError(
            f"`name` must be a data set whose images are all of one size. Received: {name!r}, "
            f"with sizes such as {sorted(shapes)[:3]}"
        )
    return np.stack(images), np.asarray(labels, dtype="int64")


def _is_classification(features):
    return (
        {"image", "label"} <= set(features)
        and features["image"].np_dtype == np.uint8
        and features["label"].shape == ()
        and np.issubdtype(features["label"].np_dtype, np.integer)
    )


def _import_tfds():
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Data sets other than 'digits' are read with TensorFlow Datasets: "
            "pip install tensorflow tensorflow-datasets importlib_resources. "
            "Training itself needs neither; you can also bring NumPy arrays of your own."
        ) from error
    return tfds


def _existing_folder(data_dir):
    """`data_dir` with `~` expanded, if there is such a folder."""
    if data_dir is None:
        return None
    folder = pathlib.Path(data_dir).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"`data_dir` must be a folder. Received: data_dir={data_dir!r}")
    return os.fspath(folder)


def _builder(tfds, name, data_dir):
    """The builder of a data set that is on the disk, downloading it first if need be."""
    from tensorflow_datasets.core import read_only_builder

    try:  # prepared earlier, whether or not this TFDS has the code that made it
        return read_only_builder.builder_from_files(
            name, data_dir=data_dir or tfds.core.constants.DATA_DIR
        )
    except (tfds.core.DatasetNotFoundError, FileNotFoundError):
        pass
    known = tfds.list_builders(with_community_datasets=False)
    if name.split("/")[0].split(":")[0] not in known:
        near = difflib.get_close_matches(name, [*EMBEDDED, *known], n=1)
        raise ValueError(
            "`name` must be 'digits' or a data set of TensorFlow Datasets. "
            f"Received: name={name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    builder = tfds.builder(name, data_dir=data_dir)
    _download(tfds, builder, name)
    return builder


def _download(tfds, builder, name):
    import requests

    try:
        # Asked first, since TFDS would try again for minutes.
        for url in list(builder.url_infos)[:1]:
            answer = requests.head(url, timeout=5)
            if answer.status_code == 407 or answer.status_code >= 500:
                answer.raise_for_status()
        builder.download_and_prepare()
    # An AssertionError: TFDS asks for files that must be downloaded by hand.
    except (requests.RequestException, tfds.download.DownloadError, AssertionError) as error:
        raise FileNotFoundError(
            f"{name!r} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}: {str(error)[:200]}). Three ways to get it: (1) run this "
            "again with a network, it is then downloaded; (2) prepare it where there is one, with "
            f"`tfds build {name}`, copy the folder and give it as data_dir; (3) use 'digits', "
            "which is embedded."
        ) from error
