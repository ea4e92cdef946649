"""The attack's tables, made from its rows."""

from __future__ import annotations

import pathlib

import numpy as np
from rich.console import Group

from keras_gappos.experiments.attack.figure import LATENTS, STYLES, draw
from keras_gappos.experiments.attack.scores import REGIONS, largest_side_effect
from keras_gappos.experiments.engine import effects
from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    terminal_table,
    write_files,
)
from keras_gappos.experiments.engine.results import find_row

_SIDES = ("left", "right")
_BASELINES = ("random", "most_active")
_PARTS = [{"region": region} for region in REGIONS]
_NAMES = {ranking: style["label"] for ranking, style in STYLES.items()}
_METHODS = {"region": "by images with one half kept", "signed_flip": "by signed flip differences"}


def make_table(rows: list[dict]) -> Group:
    """A table for each network that fits 80 columns: mIoU by number of channels off.

    Args:
        rows: the experiment's rows.
    """
    return Group(*(_narrow_table(*part) for part in _networks(rows)))


def write_report(
    folder: pathlib.Path, results: dict, test_images: np.ndarray | None = None
) -> None:
    """Writes `table.md` and, once a network is finished, `figure.png` into `folder`.

    Args:
        folder: the experiment's output folder, with the rows' predictions.
        results: the content of `results.json`.
        test_images: uint8 `(n, height, width, channels)`; `None` draws outlines instead.
    """
    parts = []
    for network, rows in _networks(results["rows"]):
        with np.load(folder / network["predictions"]) as maps:
            parts.append((network, rows, dict(maps)))
    figure = draw(parts, test_images, results["settings"]) if parts else None
    write_files(folder, table(results), figure)


def table(results: dict) -> str:
    """The text of `table.md`.

    Args:
        results: the content of `results.json`.
    """
    title = "# Position channels of a segmentation network on"
    return effects.page(results, title, _networks(results["rows"]), _sections, _captions)


def _networks(rows):
    """Each network's row and those of its sweep, the network trained without flips first."""
    found = sorted(effects.networks(rows), key=lambda row: row["flip"])
    return [(network, effects.sweep_of(rows, network, "flip")) for network in found]


def _title(network):
    return f"Trained {'with' if network['flip'] else 'without'} flips"


def _narrow_table(network, rows):
    whole, halves = _PARTS[:1], _PARTS[1:]
    columns = [(name, whole) for name in ("overall", *_BASELINES)]
    lines = effects.sweep_lines(rows, "miou", [*columns, *((side, halves) for side in _SIDES)])
    headings = ("off", "overall", "random", "most\nactive")
    sides = (f"{side}:\nleft / right half" for side in _SIDES)
    return terminal_table([*headings, *sides], lines, 0, f"{_title(network)}: mIoU %, whole image")


def _sections(network, rows):
    columns = [(ranking, _PARTS) for ranking in _NAMES]
    count = network["effect_count"]
    return [
        f"## {_title(network)}",
        _effect_table(rows),
        "Points of mIoU lost with the N best channels of a ranking off. Overall channels: in the "
        "whole image, at the N where they cost most beyond random ones. Left and right channels: "
        "in their own half, at the N where they cost most beyond the other half.",
        markdown_table(
            ["channels off", *_NAMES.values()], effects.sweep_lines(rows, "miou", columns)
        ),
        "mIoU in percent: whole image / left half / right half.",
        _class_table(network, rows, count),
        f"IoU in percent of each class, whole image, with {count} channels off.",
    ]


def _effect_table(rows):
    count, found = effects.largest_effect(rows, "miou", "overall", region="whole")
    std = find_row(rows, {"ranking": "random", "count": count, "region": "whole"})["miou_std"]
    spreads = ("" if std is None else f"±{std:.1f}", "")
    lines = [
        ["overall", count, found["overall"], _NAMES[name], effects.points(found[name]) + spread]
        for name, spread in zip(_BASELINES, spreads)
    ]
    for side, other_side in (_SIDES, _SIDES[::-1]):
        count, own, other = largest_side_effect(rows, side)
        lines.append([side, count, own, f"{other_side} half", effects.points(other)])
    cells = ([name, str(n), effects.points(own), *rest] for name, n, own, *rest in lines)
    return markdown_table(("channels", "N", "points lost", "against", "points lost"), cells, 1)


def _class_table(network, rows, count):
    """IoU of each class in the truth, with all channels on and with `count` off."""
    names = ("overall", *_BASELINES)
    keys = [{"ranking": name, "count": count, "region": "whole"} for name in names]
    ious = zip(network["iou"], *(find_row(rows, key)["iou"] for key in keys))
    lines = [
        [name, *(f"{value:.1f}" for value in values)]
        for name, values in zip(network["class_names"], ious)
        if None not in values
    ]
    headings = ("class", "all on", *(f"{_NAMES[name]} off" for name in names))
    return markdown_table(headings, lines, 1)


def _captions(network, settings):
    height, width = network["image_shape"][:2]
    trained = (
        f"{network['epochs']} epochs on {network['train_images']:,} images"
        if network["epochs"]
        else "given weights"
    )
    scaled = ", divided by mean activity" if settings["divide_by_activity"] else ""
    return [
        f"DeepLabv3, ResNet-{settings['depth']}, width {settings['width']}, output stride "
        f"{settings['output_stride']}, {width}x{height} pixels; {trained}. The "
        f"{network['channels']} channels of {LATENTS[settings['latent']]} were ranked on "
        f"{network['rank_images']:,} training images (overall by flips, left and right "
        f"{_METHODS[settings['method']]}{scaled}), set to zero, and scored on "
        f"{network['test_images']:,} test images.",
        f"Random: mean ± standard deviation of {settings['draws']} draws. mIoU is the mean over "
        "the classes present in the masks of that region; ignored pixels do not count.",
    ]
