"""The attack's figure: mIoU by number of channels off, and predictions without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.data.segmentation_sets import INFOS, SegmentationInfo, plain_name
from keras_gappos.experiments.attack.data import distinct_colors
from keras_gappos.experiments.attack.scores import REGIONS
from keras_gappos.experiments.engine.effects import draw_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {  # ranking -> name, color, style
    "overall": ("overall channels", "tab:red", "o-"),
    "left": ("left channels", "tab:blue", "<-"),
    "right": ("right channels", "tab:green", ">-"),
    "random": ("random channels", "tab:gray", "s--"),
    "most_active": ("most active channels", "tab:orange", "^--"),
}
_TITLES = {"whole": "whole image", "left": "left half", "right": "right half"}
_GRAY, _LINE = 200, 60  # brightness of a picture of outlines


def draw(
    parts: Sequence[tuple[dict, list[dict], dict]], test_images: np.ndarray | None, dataset: str
) -> Figure:
    """Draws curves and predictions of every network.

    Args:
        parts: for each network its row, those of its sweep, and its predictions by name.
        test_images: uint8 `(n, height, width, channels)`; `None` draws outlines instead.
        dataset: its name, for the title and the classes' colors.
    """
    from matplotlib.figure import Figure

    info = _class_info(dataset, parts[0][0])
    heights = []
    for network, _, maps in parts:
        height, width = network["image_shape"][:2]
        heights += [4.2, 0.7 + 2.25 * height / width * len(maps["index"])]
    figure = Figure(figsize=(14, sum(heights) + 0.8), layout="constrained")
    figure.suptitle(f"Segmentation without position channels ({dataset})", fontsize=15)
    strips = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (network, rows, maps), curves, gallery in zip(parts, strips[::2], strips[1::2]):
        _draw_curves(curves, network, rows)
        _draw_gallery(gallery, network, maps, info, test_images)
    _draw_legend(strips[-1], info)
    return figure


def _class_info(dataset, network):
    names = tuple(network["class_names"])
    unknown = SegmentationInfo(len(names), names, distinct_colors(len(names)), None)
    return INFOS.get(plain_name(dataset), unknown)


def _draw_curves(figure, network, rows):
    """mIoU against channels off, in a panel for each region."""
    figure.suptitle(f"Trained {'with' if network['flip'] else 'without'} flips", fontsize=13)
    all_axes = figure.subplots(1, len(REGIONS), sharey=True)
    for ax, region in zip(all_axes, REGIONS):
        draw_curves(ax, [row for row in rows if row["region"] == region], "miou", STYLES)
        ax.axvline(
            network["effect_count"], color="black", lw=1, ls=":", label="largest effect, overall"
        )
        ax.set(xlabel=f"channels off, of {network['channels']}", title=_TITLES[region])
    all_axes[0].set_ylim(bottom=0)  # of all, once they have grown to what is in each
    all_axes[0].set_ylabel("mIoU (%)")
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=7, fontsize=10, frameon=False)


def _draw_gallery(figure, network, maps, info, test_images):
    """Rows of image, truth, and predictions before and after."""
    count = network["effect_count"]
    columns = {
        "truth": "truth",
        "before": "prediction, all channels on",
        "overall": f"{count} overall channels off",
        "left": f"{count} left channels off",
        "right": f"{count} right channels off",
    }
    all_axes = figure.subplots(len(maps["index"]), 1 + len(columns), squeeze=False)
    ignored = (maps["truth"] < 0) | (maps["truth"] >= info.num_classes)
    for row, axes in enumerate(all_axes):
        if test_images is None:
            axes[0].imshow(outlines(maps["truth"][row]))
        else:
            image = test_images[maps["index"][row]]
            axes[0].imshow(image.repeat(3, -1) if image.shape[-1] == 1 else image)
        for ax, name in zip(axes[1:], columns):
            painted = info.paint(maps[name][row])
            painted[ignored[row]] = 0  # predictions do not count there
            ax.imshow(painted, interpolation="nearest")
        for ax in axes:
            ax.set(xticks=[], yticks=[])
    all_axes[0, 0].set_title(
        "image" if test_images is not None else "image (outlines)", fontsize=10
    )
    for ax, title in zip(all_axes[0, 1:], columns.values()):
        ax.set_title(title, fontsize=10)


def outlines(mask: np.ndarray) -> np.ndarray:
    """The borders between the labels of a mask `(height, width)`, dark on gray, uint8 RGB."""
    border = np.zeros(mask.shape, bool)
    border[1:] |= mask[1:] != mask[:-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.where(border, _LINE, _GRAY).astype("uint8")[..., None].repeat(3, -1)


def _draw_legend(figure, info):
    """The classes' colors, under the last pictures."""
    from matplotlib.patches import Patch

    classes = zip(info.colors, info.class_names)
    patches = [Patch(color=np.array(color) / 255, label=name) for color, name in classes]
    figure.legend(
        handles=[*patches, Patch(color="black", label="ignored")],
        loc="outside lower center",
        ncols=min(len(patches) + 1, 12),
        fontsize=10,
        frameon=False,
    )
