"""The zoo's cards and table of models, as Markdown generated from the registry."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from keras_gappos.zoo.model import ZooModel

TITLES = {
    "accuracy": "accuracy",
    "top1": "top-1 accuracy",
    "consistency_random": "shift consistency, random pairs of shifts",
    "consistency_circular": "shift consistency, random pairs of circular shifts",
    "consistency_exact": "shift consistency, all pairs of shifts",
    "accuracy_over_shifts": "mean accuracy over all shifts",
    "worst_case": "worst-case accuracy",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
}
_PURPOSES = {
    "gapnet": "A ResNet that ends in global average pooling; the order of its channels still "
    "encodes position. For the study of position information, not for deployment.",
    "permutenet": "GAPNet with its pooled channels shuffled at every call, which removes position: "
    "the control in a study of position information, not for deployment.",
    "resnet": "An image classifier for measuring shift consistency, comparing methods and "
    "fine-tuning.",
    "deeplabv3": "A segmentation network for ranking channels by position and switching them off.",
}
_CALLS = {
    "classification": "network.predict(inputs).argmax(-1)  # indices into info.class_names",
    "location": "network.predict(inputs).argmax(-1)  # cells in row order, from the top left",
    "segmentation": "network.predict(inputs).argmax(-1)  # class of each pixel",
}


def format_card(model: ZooModel) -> str:
    """The card of a model as Markdown: description, use, data, scores, code, limits, training."""
    versions = ", ".join(f"{name} {version}" for name, version in model.versions.items())
    recorded = f"results of commit `{model.commit[:12]}`; " if model.commit else ""
    parts = [
        f"# {model.name}",
        _wrapped(_description(model)),
        "## Intended use",
        _wrapped(_PURPOSES[model.builder]),
        "## Data",
        _wrapped(
            f"Trained on {model.train_images:,} images of {model.dataset} for {model.epochs} "
            f"epochs. {model.data_license} {model.data_note}"
        ),
        "## Scores",
        _metrics(model),
        _wrapped(
            f"In percent, from `{model.results}`. {model.measured}{_chance(model)} Reproduce "
            f"with `keras-gappos zoo score {model.name}`."
        ),
        "## Use",
        f"```python\n{_code(model)}\n```",
        _wrapped(_serving(model)),
        "## Limits",
        "\n".join(_limits(model)),
        "## Training",
        f"```sh\n{model.command}\n```",
        _wrapped(f"Seed {model.seed}; {recorded}{versions}."),
    ]
    return "\n\n".join(parts) + "\n"


def format_readme(models: Iterable[ZooModel]) -> str:
    """The zoo's README: an introduction and a table of all models."""
    models = sorted(models, key=lambda model: model.name)
    papers = " (paper)" if any(model.paper for model in models) else ""
    lines = [f"| model | task | data | width | epochs | scores{papers} % | weights |"]
    lines.append("|---|---|---|---|---|---|---|")
    for model in models:
        weights = model.files["weights"]
        lines.append(
            f"| [`{model.name}`]({_URL}/zoo/{model.name}/card.md) | {model.task} | {model.dataset} "
            f"| {model.arguments['width']} | {model.epochs} | {short_scores(model)} "
            f"| {weights.bytes / 1e6:.1f} MB |"
        )
    return _README + "\n".join(lines) + "\n"


def short_scores(model) -> str:
    """A model's main scores in percent; in parentheses the paper's, if they compare."""
    words = []
    for name, title in (
        ("accuracy", ""),
        ("top1", ""),
        ("consistency_random", " consistent"),
        ("miou", " mIoU"),
    ):
        if name in model.metrics:
            paper = f" ({model.paper[name]:.1f})" if name in model.paper else ""
            words.append(f"{model.metrics[name]:.1f}{paper}{title}")
    return ", ".join(words)


_URL = "https://github.com/keras-gappos/keras-gappos/blob/main"  # for a package index, too
_README = f"""\
# Pretrained models

Each folder holds a trained network: its weights, a SavedModel, a sample input with its output, and
a card with scores and the training command. `keras-gappos zoo add` generates the cards and this
table. Folders without a card hold only weights, of the experiments in
[`examples/results/`]({_URL}/examples/results); `load_network` of each experiment reads them.

```python
import keras_gappos as kg

network = kg.zoo.load("augshift_resnet18.cifar10")  # on any backend
folder = kg.zoo.fetch("augshift_resnet18.cifar10", format="saved_model")  # to serve
kg.zoo.info("augshift_resnet18.cifar10").metrics
```

`kg.zoo` takes the files from the first of:

1. `KERAS_GAPPOS_ZOO`: a folder, a URL, `hf://owner/name` or `kaggle://owner/model/framework/variation`
2. this folder, in a checkout
3. the package `keras-gappos-zoo`, which is this folder without SavedModels: `pip install ./zoo`
4. the URL in the metadata of `keras-gappos`

Each file is verified by SHA-256. A SavedModel that is not there is made from the weights on your
machine. `keras-gappos zoo publish` uploads all files to Hugging Face or Kaggle.

The weights have the MIT license. The data sets that they were trained on have their own: see the
cards.

Chance is 11.1 % for location on a 3x3 grid, 4.0 % on 5x5, 2.0 % on 7x7, and 10 % for class.
"Consistent" is how often a network gives the same answer for two random shifts of an image. Weights
are float32; those of more than 12 MB are stored as float16 if that keeps the outputs within 0.01
and the top-1.

"""


def _wrapped(text):
    """Prose in lines of at most 100 characters."""
    return "\n\n".join(
        textwrap.fill(paragraph, 100, break_long_words=False, break_on_hyphens=False)
        for paragraph in text.split("\n\n")
    )


def _chance(model):
    return "" if model.chance is None else f" Chance is {model.chance:.1f}."


def _description(model):
    height, width, channels = model.input_shape
    canvas = f"a {model.grid_size}x{model.grid_size} grid of images, " if model.is_on_grid else ""
    return (
        f"`keras_gappos.models.{model.builder}`, depth {model.arguments['depth']}, width "
        f"{model.arguments['width']}, {model.parameters:,} parameters, for {model.task}: "
        f"{len(model.class_names)} classes. {model.about}\n\nInput: {canvas}float32 `(batch, "
        f"{height}, {width}, {channels})`, images in [0, 1], minus "
        f"{_numbers(model.mean)}, divided by {_numbers(model.std)}, per channel. Output: logits."
    )


def _numbers(values):
    return f"({', '.join(f'{value:g}' for value in values)})"


def _metrics(model):
    lines = (
        ["| | this model | paper |", "|---|---|---|"]
        if model.paper
        else ["| | this model |", "|---|---|"]
    )
    for name, title in TITLES.items():
        if name in model.metrics:
            error = model.metrics.get(f"{name}_stderr")
            spread = "" if error is None else f" ± {error:.2f}"
            line = f"| {title} | {model.metrics[name]:.2f}{spread} |"
            paper = f" {model.paper[name]:.1f} |" if name in model.paper else "  |"
            lines.append(line + (paper if model.paper else ""))
    return "\n".join(lines)


def _code(model):
    height, width, channels = model.image_shape
    lines = [
        "import numpy as np",
        "",
        "import keras_gappos as kg",
        "",
        f'info = kg.zoo.info("{model.name}")',
        f'network = kg.zoo.load("{model.name}")',
        f'images = np.zeros((1, {height}, {width}, {channels}), "uint8")  # yours',
        "inputs = info.preprocess(images)",
    ]
    if model.is_on_grid:
        lines.append(
            f"inputs = kg.layers.place_on_grid(inputs, [0], {model.grid_size})  # on the first cell"
        )
    return "\n".join([*lines, _CALLS[model.task]])


def _serving(model):
    return (
        f'`kg.zoo.fetch("{model.name}", format="saved_model")` returns a folder for '
        '`tf.saved_model.load` (`.serve`) and `keras.layers.TFSMLayer` (`call_endpoint="serve"`), '
        "with the same input. For TensorFlow Serving, copy it to a folder named by a version "
        f"number, such as `models/{model.name}/1`."
    )


def _limits(model):
    limits = [
        f"A small training run (width {model.arguments['width']}, {model.epochs} epochs, "
        f"{model.train_images:,} images): do not expect the paper's scores."
    ]
    if model.is_random:
        limits.append(
            "Its outputs are random by design: each call draws a permutation of the channels. "
            "Loading the model again repeats the same sequence of permutations."
        )
    if model.is_on_grid:
        limits.append("It was trained only on black canvases with one image on a cell.")
    if model.task == "segmentation":
        limits.append("It accepts images of the listed size only.")
    return [textwrap.indent(_wrapped(f"- {limit}"), "  ")[2:] for limit in limits]
