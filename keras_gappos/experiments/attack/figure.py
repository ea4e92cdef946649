"""The attack's figure: mIoU against the channels off, and what the network sees without them."""

import numpy as np

from keras_gappos.experiments.attack.scores import REGIONS

_STYLES = {
    "overall": ("overall", "tab:red", "o-"),
    "left": ("left", "tab:blue", "<-"),
    "right": ("right", "tab:green", ">-"),
    "random": ("random", "tab:grey", "s--"),
    "most_active": ("most active", "tab:orange", "^--"),
}
_TITLES = {"whole": "whole image", "left": "left half", "right": "right half"}
_GREY, _LINE = 200, 60  # of a picture that stands for a photograph


def draw(parts, info, test_images, dataset):
    """Draws curves and predictions of every network.

    Args:
        parts: for each network `(row, rows, maps)`: its own row, those of its sweep, and its
            predictions, a dictionary of arrays.
        info: the data set's `SegmentationInfo`.
        test_images: uint8 `(n, height, width, channels)`; `None` puts the outlines of what is in
            them on grey in their place.
        dataset: its name, for the title.

    Returns:
        A matplotlib `Figure`.
    """
    from matplotlib.figure import Figure

    heights = []
    for network, _, maps in parts:
        height, width = network["image_shape"][:2]
        heights += [3.9, 0.7 + 2.25 * height / width * len(maps["index"])]
    figure = Figure(figsize=(14, sum(heights) + 0.8), layout="constrained")
    figure.suptitle(f"Segmentation without position channels ({dataset})", fontsize=15)
    strips = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (network, rows, maps), curves, gallery in zip(parts, strips[::2], strips[1::2]):
        _draw_curves(curves, network, rows)
        _draw_gallery(gallery, network, maps, info, test_images)
    _draw_legend(strips[-1], info)
    return figure


def _draw_curves(figure, network, rows):
    """mIoU against channels off, in a panel for each region."""
    figure.suptitle(f"Trained {'with' if network['flip'] else 'without'} flips", fontsize=13)
    all_axes = figure.subplots(1, len(REGIONS), sharey=True)
    for ax, region in zip(all_axes, REGIONS):
        for ranking, (name, color, style) in _STYLES.items():
            found = [r for r in rows if (r["ranking"], r["region"]) == (ranking, region)]
            found.sort(key=lambda row: row["count"])
            counts, values = ([row[key] for row in found] for key in ("count", "miou"))
            if ranking == "random":
                _draw_spread(ax, found)
            ax.plot(counts, values, style, color=color, lw=2, ms=5, label=f"{name} channels")
        ax.axvline(network["effect_count"], color="black", lw=1, ls=":")
        ax.set(xlabel=f"channels off, of {network['channels']}", title=_TITLES[region])
        ax.grid(alpha=0.3)
    all_axes[0].set_ylim(bottom=0)  # of all, once they have grown to what is in each
    all_axes[0].set_ylabel("mIoU (%)")
    all_axes[-1].legend(fontsize=10)


def _draw_spread(ax, rows):
    """The band from the worst to the best random draw."""
    draws = np.array([row["miou_draws"] for row in rows])
    counts = [row["count"] for row in rows]
    ax.fill_between(counts, draws.min(1), draws.max(1), color="tab:grey", alpha=0.25, lw=0)


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
            painted[ignored[row]] = 0  # where the truth is ignored, predictions do not count
            ax.imshow(painted, interpolation="nearest")
        for ax in axes:
            ax.set(xticks=[], yticks=[])
    all_axes[0, 0].set_title(
        "image" if test_images is not None else "image (outlines)", fontsize=10
    )
    for ax, title in zip(all_axes[0, 1:], columns.values()):
        ax.set_title(title, fontsize=10)


def outlines(mask):
    """The borders between the labels of a mask `(height, width)`, dark on grey, uint8 RGB."""
    border = np.zeros(mask.shape, bool)
    border[1:] |= mask[1:] != mask[:-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.where(border, _LINE, _GREY).astype("uint8")[..., None].repeat(3, -1)


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
