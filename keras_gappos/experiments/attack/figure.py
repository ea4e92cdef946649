"""The attack's figure: mIoU by number of channels off, and predictions without them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_gappos.analysis import AblationSweep
from keras_gappos.analysis.channels.sweep import BASELINE_STYLES
from keras_gappos.analysis.plots import COLORS
from keras_gappos.data.segmentation_sets import INFOS, SegmentationInfo, plain_name
from keras_gappos.experiments.attack.data import distinct_colors
from keras_gappos.experiments.attack.scores import REGIONS
from keras_gappos.experiments.engine.pictures import add_legend, readable, training_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {  # of each ranking's curve
    "overall": {"label": "overall channels", "color": COLORS["vermilion"], "marker": "o"},
    "left": {"label": "left channels", "color": COLORS["blue"], "marker": "<"},
    "right": {"label": "right channels", "color": COLORS["green"], "marker": ">"},
    **BASELINE_STYLES,
}
LATENTS = {
    "features": "the backbone's feature map",
    "head_relu": "the feature map of the head's last convolution",
}
_TITLES = {"whole": "whole image", "left": "left half", "right": "right half"}
_GRAY, _LINE = 200, 60  # brightness of a picture of outlines


@readable
def draw(
    parts: Sequence[tuple[dict, list[dict], dict]], test_images: np.ndarray | None, settings: dict
) -> Figure:
    """Draws curves and predictions of every network.

    Args:
        parts: for each network its row, those of its sweep, and its predictions by name.
        test_images: uint8 `(n, height, width, channels)`; `None` draws outlines instead.
        settings: those of `results.json`.
    """
    from matplotlib.figure import Figure

    info = _class_info(settings["dataset"], parts[0][0])
    heights = []
    for network, _, maps in parts:
        height, width = network["image_shape"][:2]
        heights += [4.4, 0.7 + 1.95 * height / width * len(maps["index"])]
    figure = Figure(figsize=(12, sum(heights) + 1.5), layout="constrained")
    figure.suptitle(
        f"Segmentation with channels of {LATENTS[settings['latent']]} switched off\nDeepLabv3, "
        f"{training_line(settings, [network for network, *_ in parts])}"
    )
    strips = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for (network, rows, maps), curves, gallery in zip(parts, strips[::2], strips[1::2]):
        _draw_curves(curves, network, rows)
        _draw_gallery(gallery, network, maps, info, test_images)
    add_legend(figure, *_class_patches([maps for *_, maps in parts], info))
    return figure


def _class_info(dataset, network):
    names = tuple(network["class_names"])
    unknown = SegmentationInfo(len(names), names, distinct_colors(len(names)), None)
    return INFOS.get(plain_name(dataset), unknown)


def _draw_curves(figure, network, rows):
    """mIoU against channels off, in a panel for each region."""
    figure.suptitle(f"trained {'with' if network['flip'] else 'without'} flips")
    all_axes = figure.subplots(1, len(REGIONS), sharey=True)
    for ax, region in zip(all_axes, REGIONS):
        AblationSweep(rows).plot(ax, score="miou", region=region, styles=STYLES)
        shown = f"{network['effect_count']} channels off, as in the pictures below"
        ax.axvline(network["effect_count"], color="black", lw=1.5, ls=":", label=shown)
        ax.set(xlabel=f"channels off, of {network['channels']}", title=_TITLES[region])
        ax.label_outer()
    all_axes[0].set_ylim(bottom=0)  # of all, once they have grown to what is in each
    add_legend(figure, title="switched off first:")


def _draw_gallery(figure, network, maps, info, test_images):
    """Rows of image, truth, and predictions before and after."""
    count = network["effect_count"]
    columns = {
        "truth": "truth",
        "before": "prediction:\nall channels on",
        "overall": f"prediction:\n{count} overall off",
        "left": f"prediction:\n{count} left off",
        "right": f"prediction:\n{count} right off",
    }
    all_axes = figure.subplots(len(maps["index"]), 1 + len(columns), squeeze=False)
    ignored = _ignored(maps, info)
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
    all_axes[0, 0].set_title("image" if test_images is not None else "outlines\nof the image")
    for ax, title in zip(all_axes[0, 1:], columns.values()):
        ax.set_title(title)


def _ignored(maps, info):
    return (maps["truth"] < 0) | (maps["truth"] >= info.num_classes)


def _class_patches(all_maps, info):
    """A patch for each class that the pictures show, and one for ignored pixels, if there are."""
    from matplotlib.patches import Patch

    shown, ignored = set(), False
    for maps in all_maps:
        counts = ~_ignored(maps, info)
        ignored |= not counts.all()
        for name in ("truth", "before", *STYLES):
            if name in maps:
                shown.update(np.unique(maps[name][counts]).tolist())
    patches = [
        Patch(color=np.array(color) / 255, label=name)
        for label, (color, name) in enumerate(zip(info.colors, info.class_names))
        if label in shown
    ]
    return [*patches, *([Patch(color="black", label="ignored")] if ignored else [])]


def outlines(mask: np.ndarray) -> np.ndarray:
    """The borders between the labels of a mask `(height, width)`, dark on gray, uint8 RGB."""
    border = np.zeros(mask.shape, bool)
    border[1:] |= mask[1:] != mask[:-1]
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    return np.where(border, _LINE, _GRAY).astype("uint8")[..., None].repeat(3, -1)
