"""What does the zoo's `load` cost beyond building the network and reading its weights?

    python benchmarks/zoo.py

About a minute on 2 cores; `--output timings.json` writes every round. It fetches one
model into the cache first.

- `keras_gappos.zoo.load` of a ResNet from a warm cache against building the same network and
  reading the same file; `load` also looks up and hashes the file. Timed alternately. Bound: 1.3.
- `list_models` and `info` on an empty in-memory cache, as in a new process. Bound: 50 ms each.

Bounds are printed but not enforced, since timings on a busy machine vary.
"""

import dataclasses
import pathlib

import numpy as np
import tyro
from timing import alternate, check, compare, in_words, write

import keras_gappos as kg
from keras_gappos.zoo import registry
from keras_gappos.zoo.loading import BUILDERS

BOUND, BOUND_MS = 1.3, 50


@dataclasses.dataclass(frozen=True)
class Settings:
    """Time the zoo's `load`, `list_models` and `info`."""

    rounds: int = 15
    """Measurements of each."""
    name: str | None = None
    """The model to load; by default the first one whose builder is `resnet`."""
    output: pathlib.Path | None = None
    """JSON file for all timings."""


def main(settings):
    check(settings)
    name = settings.name or first_resnet()
    rows = [time_load(name, settings.rounds), *time_registry(name, settings.rounds)]
    write(dataclasses.replace(settings, name=name), __file__, rows)


def first_resnet():
    """The name of the registry's first ResNet."""
    names = [name for name in kg.zoo.list_models() if kg.zoo.info(name).builder == "resnet"]
    if not names:
        raise ValueError("`name` must be given: the registry has no model of builder 'resnet'")
    return names[0]


def time_load(name, rounds):
    """The row of `load` over its bare parts."""
    model, path = kg.zoo.info(name), kg.zoo.fetch(name)

    def load():
        kg.zoo.load(name)

    def bare():
        BUILDERS[model.builder](**model.arguments).load_weights(path)

    seconds = alternate({"load": load, "bare": bare}, rounds, 1, "load")
    comparison = compare(seconds["load"], seconds["bare"])
    print(f"load of {name} / building and reading it bare: {in_words(comparison)}; bound {BOUND}")
    return {
        "what": "load / building and reading bare",
        "model": name,
        "bytes": model.files["weights"].bytes,
        **comparison,
        "bound": BOUND,
        "seconds": {contestant: values.tolist() for contestant, values in seconds.items()},
    }


def time_registry(name, rounds):
    """The rows of `list_models` and `info`."""

    def list_models():
        registry._models.cache_clear()
        kg.zoo.list_models("*cifar10*")

    def info():
        registry._models.cache_clear()
        kg.zoo.info(name)

    functions = {"list_models": list_models, "info": info}
    for what, values in alternate(functions, rounds, 1, "registry").items():
        milliseconds = 1000 * values
        median, most = float(np.median(milliseconds)), float(milliseconds.max())
        print(f"{what}: {median:.1f} ms, at most {most:.1f} ms; bound {BOUND_MS} ms", flush=True)
        yield {"what": what, "milliseconds": milliseconds.tolist(), "bound": BOUND_MS}


if __name__ == "__main__":
    main(tyro.cli(Settings))
