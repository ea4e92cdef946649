"""Data sets of TensorFlow Datasets, example by example."""

from __future__ import annotations

import difflib
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from keras_gappos.data.segmentation_sets import INFOS, plain_name


def read_tfds(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    limit: int | None = None,
    target: str | None = None,
    embedded: Sequence[str] = (),
) -> Iterator[tuple[np.ndarray, Any]]:
    """Yields the images of a data set, with their labels or masks.

    Args:
        name: a TFDS data set, or the folder of a prepared one.
        split, data_dir, limit, target: as in `keras_gappos.data.load`.
        embedded: names of the embedded data sets, for messages.

    Yields:
        `(image, label)`: uint8 `(height, width, channels)` and an integer; or `(image, mask)`:
        integers `(height, width)`, translated to classes for a known set.

    Raises:
        ValueError, FileNotFoundError, ImportError: as `keras_gappos.data.load`, before the first
            example.
    """
    tfds = _import_tfds(embedded)
    builder = _builder(tfds, name, data_dir, embedded)
    image, target = _features(name, builder.info.features, target)
    try:
        stream = builder.as_dataset(split=split)
    except ValueError as error:
        raise ValueError(
            f"`split` must be one of {sorted(builder.info.splits)} of {name!r}, or an expression "
            f"of them. Received: split={split!r}"
        ) from error
    if limit is not None:
        stream = stream.take(limit)
    info = INFOS.get(plain_name(name))
    for example in tfds.as_numpy(stream):
        pixels, label = example[image], example[target]
        if np.ndim(label):
            label = label.reshape(label.shape[:2])
            if label.shape != pixels.shape[:2]:
                raise ValueError(
                    "`name` must be a data set whose masks have the same size as their images. "
                    f"Received: {name!r}, with a mask of {label.shape} for {pixels.shape[:2]}"
                )
            label = label if info is None else info.translate(label)
        yield pixels, label


def _features(name, features, target):
    """The names of the image and of the target, a label or a mask."""
    images = [key for key in ("image", "image_left") if key in features]
    images = [key for key in images if features[key].np_dtype == np.uint8]
    labels = [key for key in features if _is_label(features[key])]
    masks = [key for key in features if key not in images and _is_mask(features[key])]
    if target is None:
        choice = ["label"] if "label" in labels else masks
    else:
        choice = [key for key in (*labels, *masks) if key == target]
    if not images or len(choice) != 1:
        wanted = "'label', one integer, or one mask" if target is None else repr(target)
        raise ValueError(
            "`name` must be a data set with the features 'image', of uint8, and "
            f"{wanted}. {_hint(masks)}Received: {name!r} with {' '.join(str(features).split())}"
        )
    return images[0], choice[0]


def _hint(masks):
    return f"Set `target` to one of the masks: {masks}. " if len(masks) > 1 else ""


def _is_label(feature):
    return feature.shape == () and np.issubdtype(feature.np_dtype, np.integer)


def _is_mask(feature):
    """Whether a feature has one integer per pixel."""
    shape = feature.shape
    return (
        isinstance(shape, tuple)
        and (len(shape) == 2 or (len(shape) == 3 and shape[-1] == 1))
        and np.issubdtype(feature.np_dtype, np.integer)
    )


def _import_tfds(embedded):
    try:
        import tensorflow  # noqa: F401  (TFDS is imported without it, and fails later)
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"Data sets other than {_listed(embedded)} need TensorFlow Datasets: "
            "pip install 'keras-gappos[tensorflow]'. "
            "You can also pass your own NumPy arrays."
        ) from error
    return tfds


def _existing_folder(data_dir):
    """`data_dir` with `~` expanded; it must exist."""
    if data_dir is None:
        return None
    folder = pathlib.Path(data_dir).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"`data_dir` must be a folder. Received: data_dir={data_dir!r}")
    return os.fspath(folder)


def _builder(tfds, name, data_dir, embedded):
    """The builder of a data set, which is downloaded if it is not on disk."""
    from tensorflow_datasets.core import read_only_builder

    if _is_folder(name):
        return tfds.builder_from_directory(_prepared_folder(name))
    data_dir = _existing_folder(data_dir)
    try:  # prepared earlier, even by code that this TFDS does not have
        return read_only_builder.builder_from_files(
            name, data_dir=data_dir or tfds.core.constants.DATA_DIR
        )
    except (tfds.core.DatasetNotFoundError, FileNotFoundError):
        pass
    known = tfds.list_builders(with_community_datasets=False)
    if name.split("/")[0].split(":")[0] not in known:
        near = difflib.get_close_matches(name, [*embedded, *known], n=1)
        raise ValueError(
            f"`name` must be {_listed(embedded)} or a data set of TensorFlow Datasets. "
            f"Received: name={name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    builder = tfds.builder(name, data_dir=data_dir)
    _download(tfds, builder, name)
    return builder


def _is_folder(name):
    """Whether `name` is a path, unlike "cityscapes/semantic_segmentation:1.0.0"."""
    path = pathlib.Path(name).expanduser()
    return path.is_absolute() or name.startswith(".") or (path / "dataset_info.json").is_file()


def _prepared_folder(name):
    folder = pathlib.Path(name).expanduser()
    if not (folder / "dataset_info.json").is_file():
        raise FileNotFoundError(
            "`name` must be a data set's name, or a folder with the 'dataset_info.json' that TFDS "
            f"writes, such as camvid/1.0.0. Received: name={name!r}"
        )
    return os.fspath(folder)


def _listed(names):
    return ", ".join(repr(name) for name in names)


def _download(tfds, builder, name):
    import requests

    try:
        # Checked first, since TFDS would retry for minutes.
        for url in list(builder.url_infos or ())[:1]:
            answer = requests.head(url, timeout=5)
            if answer.status_code == 407 or answer.status_code >= 500:
                answer.raise_for_status()
        builder.download_and_prepare()
    # TFDS raises an AssertionError for files that must be downloaded by hand.
    except (requests.RequestException, tfds.download.DownloadError, AssertionError) as error:
        raise FileNotFoundError(
            f"{name!r} is not in {builder.data_dir} and cannot be downloaded "
            f"({type(error).__name__}: {str(error)[:200]}). Three ways to get it: (1) run this "
            "again with a network connection; (2) prepare it on another machine with "
            f"`tfds build {name}`, copy the folder and set data_dir to it; or (3) use 'digits' or "
            "'shapes', which are embedded."
        ) from error
