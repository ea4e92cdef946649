"""The tables of position channels and class channels, made from rows."""

from __future__ import annotations

import pathlib

from rich.console import Group

from keras_gappos.analysis import ChannelRanking
from keras_gappos.experiments.engine import effects
from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    terminal_table,
    write_files,
)
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.experiments.probe.figure import NAMES, STYLES, draw

TASKS = {"position": "location", "cell": "location", "class": "class"}  # ranking -> its task
_NAMES = {ranking: style["label"] for ranking, style in STYLES.items()}
_PARTS = [{"task": "location"}, {"task": "class"}]
_HEADINGS = ("position,\nby flips", "position,\nby cells", "class", "random", "most\nactive")
_PERMUTENET = (
    "PermuteNet shuffles the channels at every call, between pooling and dense layer: location is "
    "near chance whichever channels are off, and its scores vary from call to call."
)
_BORDER = (
    "GAPNet's last convolution, 3x3 and padded with zeros, meets the border everywhere on so small "
    "a map: it can read the location from any channel."
)


def make_table(rows: list[dict]) -> Group:
    """A table for each network that fits 80 columns: both accuracies by number of channels off.

    Args:
        rows: the experiment's rows.
    """
    return Group(*(_narrow_table(*part) for part in _networks(rows)))


def write_report(folder: pathlib.Path, results: dict, test_images: object = None) -> None:
    """Writes `table.md` and, once a network is finished, `figure.png` into `folder`.

    Args:
        folder: the experiment's output folder, with the rows' rankings.
        results: the content of `results.json`.
        test_images: not used.
    """
    settings, parts = results["settings"], []
    for network, rows in _networks(results["rows"]):
        paths = network["rankings"].items()
        rankings = {name: ChannelRanking.from_json(folder / path) for name, path in paths}
        parts.append((network, rows, rankings))
    figure = draw(parts, settings) if parts else None
    write_files(folder, table(results), figure)


def table(results: dict) -> str:
    """The text of `table.md`.

    Args:
        results: the content of `results.json`.
    """
    title = "# Position channels and class channels on"
    return effects.page(results, title, _networks(results["rows"]), _sections, _captions)


def _networks(rows):
    """Each network's row and those of its sweep."""
    found = effects.networks(rows)
    return [(network, effects.sweep_of(rows, network, "network")) for network in found]


def _lines(rows, spread):
    columns = [(ranking, _PARTS) for ranking in STYLES]
    return effects.sweep_lines(rows, "accuracy", columns, spread)


def _narrow_table(network, rows):
    title = f"{NAMES[network['network']]}\naccuracy %, location / class"
    return terminal_table(("off", *_HEADINGS), _lines(rows, spread=False), title=title)


def _sections(network, rows):
    chance = " / ".join(f"{find_row(rows, part)['chance']:.1f}" for part in _PARTS)
    correlations = network["rank_correlations"].items()
    caveat = _PERMUTENET if network["network"] == "permutenet" else ""
    if network["network"] == "gapnet" and min(network["map_size"]) <= 3:
        caveat = _BORDER
    return [
        f"## {NAMES[network['network']]}",
        effect_table(rows),
        "Points of accuracy lost, location / class, with N channels off: the N where the ranking "
        "costs its own task most beyond random channels.",
        markdown_table(("channels off", *_NAMES.values()), _lines(rows, spread=True)),
        f"Accuracy in percent, location / class; chance is {chance}.",
        f"Spearman's rank correlations: {', '.join(f'{k} {v:.2f}' for k, v in correlations)}.",
        caveat,
    ]


def effect_table(rows: list[dict]) -> str:
    """What channels cost both tasks, where each ranking costs its own most beyond random ones.

    Args:
        rows: rows of one network's sweep.
    """
    found = [effects.costs(rows, "accuracy", **part) for part in _PARTS]
    lines = []
    for ranking, task in TASKS.items():
        count, _ = effects.largest_effect(rows, "accuracy", ranking, task=task)
        cells = (" / ".join(effects.points(of[name][count]) for of in found) for name in STYLES)
        lines.append([_NAMES[ranking], str(count), *cells])
    return markdown_table(("largest effect of", "N", *_NAMES.values()), lines, 1)


def _captions(network, settings):
    height, width = network["map_size"]
    k = settings["grid_size"]
    trained = (
        f"trained for the class ({network['epochs']} epochs on {network['train_images']:,} images)"
        if network["epochs"]
        else "with given weights"
    )
    return [
        f"ResNet-{settings['depth']} backbone, width {settings['width']}, {trained}, then frozen; "
        f"the location head was trained on it for {network['head_epochs']} epochs. Images are on "
        f"random cells of a {k}x{k} grid. The {network['channels']} channels of the "
        f"{height}x{width} feature map were ranked on {network['rank_images']:,} training images, "
        f"set to zero, and scored on {network['test_images']:,} test images, "
        f"{settings['test_passes']} cells each.",
        "By flips: mean |z - z of the mirrored canvas|, with z the globally pooled map; it also "
        "sees a channel's size and the mirrored image. By cells, and class channels: the share of "
        "z's variance that the cell, or the class, explains. Random: mean ± standard deviation of "
        f"{settings['draws']} draws.",
    ]
