"""The registry of pretrained models, a JSON file inside the package."""

import copy
import difflib
import fnmatch
import functools
import json
from collections.abc import Iterable
from importlib import resources

from keras_gappos.zoo.model import ZooModel

FORMAT = 1  # of registry.json; higher ones are rejected
FILE_NAME = "registry.json"


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the pretrained models, in alphabetical order; works offline.

    Args:
        pattern: a pattern with `*` and `?`, such as `"*cifar10*"`; `None` lists all.

    Returns:
        A list of names, empty if none matches.

    Examples:
        >>> "resnet18.cifar10" in keras_gappos.zoo.list_models("*cifar10*")
        True
    """
    return sorted(fnmatch.filter(_models(), pattern or "*"))


def info(name: str) -> ZooModel:
    """Describes a pretrained model; works offline.

    Args:
        name: the model's name, such as `"resnet18.cifar10"`.

    Returns:
        A `ZooModel`: builder, task, data, preprocessing, metrics, files.

    Raises:
        ValueError: for an unknown name; the message suggests the nearest.
    """
    models = _models()
    if name not in models:
        near = nearest(str(name).lower(), models)
        hint = f" Did you mean {near!r}?" if near else ""
        raise ValueError(
            "`name` must be a model of the zoo; `keras_gappos.zoo.list_models()` lists them. "
            f"Received: name={name!r}.{hint}"
        )
    return copy.deepcopy(models[name])  # the caller may change its dictionaries


def nearest(text: str, names: Iterable[str]) -> str | None:
    """The name most similar to a text, preferring names that contain it."""
    having = [name for name in names if text and text in name]
    near = difflib.get_close_matches(text, having or names, n=1, cutoff=0.0 if having else 0.4)
    return near[0] if near else None


def owner_of(digest: str) -> str | None:
    """The model that has a file with this SHA-256 digest."""
    models = _models().values()
    owners = (m.name for m in models for file in m.files.values() if file.sha256 == digest)
    return next(owners, None)


def parse_registry(text: str) -> dict[str, ZooModel]:
    """Reads a registry.

    Args:
        text: JSON, `{"format": 1, "models": [...]}`.

    Returns:
        Dictionary from name to `ZooModel`.

    Raises:
        ValueError: for a damaged registry, or one of a newer version of this package.
    """
    try:
        content = json.loads(text)
        version = content["format"]
        if type(version) is not int or version < 1:
            raise ValueError(f"format {version!r}")
        models = [] if version > FORMAT else [ZooModel.from_json(m) for m in content["models"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"The zoo's registry is damaged: {error!r}. Install it again.") from error
    if version > FORMAT:
        raise ValueError(
            f"The zoo's registry has format {version}, and this version of keras-gappos reads "
            f"formats up to {FORMAT}. Upgrade keras-gappos."
        )
    return {model.name: model for model in models}


def format_registry(models: Iterable[ZooModel]) -> str:
    """The registry's JSON text, sorted by name."""
    entries = [model.to_json() for model in sorted(models, key=lambda model: model.name)]
    return json.dumps({"format": FORMAT, "models": entries}, indent=1) + "\n"


@functools.cache
def _models():
    return parse_registry(resources.files(__package__).joinpath(FILE_NAME).read_text("utf-8"))
