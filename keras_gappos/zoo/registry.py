"""Which pretrained models there are: the registry, a JSON file inside the package."""

import copy
import difflib
import fnmatch
import functools
import json
from importlib import resources

from keras_gappos.zoo.model import ZooModel

FORMAT = 1  # of registry.json; a reader refuses a higher one
FILE_NAME = "registry.json"


def list_models(pattern: str | None = None) -> list[str]:
    """Names of the pretrained models, in alphabetical order. Touches no network.

    Args:
        pattern: with `*` and `?`, such as `"*cifar10*"`; `None` lists all.

    Returns:
        A list of names, empty if none matches.

    Example:
        >>> "resnet18.cifar10" in keras_gappos.zoo.list_models("*cifar10*")
        True
    """
    return sorted(fnmatch.filter(_models(), pattern or "*"))


def info(name: str) -> ZooModel:
    """All there is to know about a pretrained model. Touches no network.

    Args:
        name: of the model, such as `"resnet18.cifar10"`.

    Returns:
        A `ZooModel`: builder, task, data, preprocessing, figures, files.

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
    return copy.deepcopy(models[name])  # its dictionaries are the caller's own


def nearest(text, names) -> str | None:
    """The name that is most like a text: of those that have the text in them, if any do.

    Args:
        text: what was asked for.
        names: an iterable of names.
    """
    having = [name for name in names if text and text in name]
    near = difflib.get_close_matches(text, having or names, n=1, cutoff=0.0 if having else 0.4)
    return near[0] if near else None


def owner_of(digest) -> str | None:
    """The model that has a file of this SHA-256 digest, as a file is told by its content."""
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
        ValueError: for a registry of a newer version of this package, or none at all.
    """
    try:
        content = json.loads(text)
        version = content["format"]
        if type(version) is not int or version < 1:
            raise ValueError(f"format {version!r}")
        models = [] if version > FORMAT else [ZooModel.from_json(m) for m in content["models"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"The zoo's registry is damaged: {error!r}. Install it again.") from error
    if version > FORMAT:  # who knows what is in it
        raise ValueError(
            f"The zoo's registry has format {version}, and this version of keras-gappos reads "
            f"formats up to {FORMAT}. Upgrade keras-gappos."
        )
    return {model.name: model for model in models}


def format_registry(models) -> str:
    """The registry's text: the models by name, whatever their order.

    Args:
        models: an iterable of `ZooModel`.
    """
    entries = [model.to_json() for model in sorted(models, key=lambda model: model.name)]
    return json.dumps({"format": FORMAT, "models": entries}, indent=1) + "\n"


@functools.cache
def _models():
    return parse_registry(resources.files(__package__).joinpath(FILE_NAME).read_text("utf-8"))
