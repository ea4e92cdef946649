"""Which pretrained models there are: the registry, a JSON file inside the package."""

import difflib
import fnmatch
import functools
import json
from importlib import resources

from keras_gappos.zoo.entry import ZooModel

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
        near = difflib.get_close_matches(str(name).lower(), models, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            "`name` must be a model of the zoo; `keras_gappos.zoo.list_models()` lists them. "
            f"Received: name={name!r}.{hint}"
        )
    return models[name]


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
        version = int(content["format"])
        entries = content["models"] if version <= FORMAT else None  # who knows what a newer one has
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"The zoo's registry is damaged: {error!r}. Install it again.") from error
    if entries is None:
        raise ValueError(
            f"The zoo's registry has format {version}, and this version of keras-gappos reads "
            f"formats up to {FORMAT}. Upgrade keras-gappos."
        )
    return {entry["name"]: ZooModel.from_json(entry) for entry in entries}


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
