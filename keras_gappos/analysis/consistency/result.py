"""What a measurement of shift consistency found."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class ConsistencyResult:
    """Shift consistency of a classifier, and its accuracy under shifts where labels were given.

    Attributes:
        consistency: percent of pairs of shifts under which the top-1 class is the same.
        stderr: standard error of `consistency`, in percentage points; NaN where one value alone
            was seen. Over images for "random" and "exact"; over batches and pairs for "aps" and
            "crop", whose images in a batch share their shifts.
        pair_consistencies: the same percentage for each of the pairs; empty for "exact".
        accuracy: percent correct, mean over images and shifts; `None` without labels.
        worst_case: percent of images that are correct under every shift tried, or `None`.
        accuracy_map: array `(rows, columns)` of percent correct under each shift, NaN for a shift
            that was never drawn, or `None`.
        row_offsets: offset down of each row of the map, in pixels.
        column_offsets: offset to the right of each column of the map, in pixels.
        num_images: number of images.
        settings: all that it takes to repeat the measurement.
    """

    consistency: float
    stderr: float
    pair_consistencies: tuple[float, ...]
    accuracy: float | None
    worst_case: float | None
    accuracy_map: np.ndarray | None = dataclasses.field(repr=False, compare=False)
    row_offsets: tuple[int, ...] = dataclasses.field(repr=False)
    column_offsets: tuple[int, ...] = dataclasses.field(repr=False)
    num_images: int
    settings: dict

    def to_dict(self) -> dict:
        """All of it as `json.dump` takes it; `None` for NaN."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.accuracy_map is not None:
            content["accuracy_map"] = [
                [_or_none(value) for value in row] for row in self.accuracy_map.tolist()
            ]
        for name in ("pair_consistencies", "row_offsets", "column_offsets"):
            content[name] = list(content[name])
        return {**content, "stderr": _or_none(self.stderr), "settings": dict(self.settings)}

    def plot(self, axes=None):
        """Draws the accuracy map as a heat map.

        Args:
            axes: matplotlib axes to draw on; `None` makes a figure of its own.

        Returns:
            The axes; `.figure.savefig(path)` saves it.

        Raises:
            ValueError: if the measurement had no labels.

        Example:
            >>> result.plot().figure.savefig("accuracy_map.png", dpi=150)  # doctest: +SKIP
        """
        if self.accuracy_map is None:
            raise ValueError(
                "A map of accuracy needs labels. Give `labels`, or a data set that has them, to "
                "`shift_consistency`. Received: labels=None"
            )
        from matplotlib.ticker import MaxNLocator

        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.figure(figsize=(6.4, 5.2), layout="constrained").add_subplot()
        low, high = np.nanmin(self.accuracy_map), np.nanmax(self.accuracy_map)
        left, right = self.column_offsets[0] - 0.5, self.column_offsets[-1] + 0.5
        top, bottom = self.row_offsets[0] - 0.5, self.row_offsets[-1] + 0.5
        # A spread of less than one point would show noise in full color.
        margin = max(0, 1 - (high - low)) / 2
        drawn = axes.imshow(
            self.accuracy_map,
            extent=(left, right, bottom, top),
            vmin=low - margin,
            vmax=high + margin,
        )
        axes.set_facecolor("lightgrey")  # shifts that were never drawn
        bar = axes.figure.colorbar(drawn, ax=axes)
        bar.set_label("top-1 accuracy (%)", fontsize=15)
        bar.ax.tick_params(labelsize=14)
        crop = self.settings["protocol"] == "crop"
        names = ("crop from the left", "crop from the top") if crop else ("right", "down")
        for axis, name in zip((axes.xaxis, axes.yaxis), names):
            axis.set_label_text(f"{name} (pixels)" if crop else f"shift {name} (pixels)")
            axis.label.set_fontsize(15)
            axis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(labelsize=14)
        axes.set_title(
            f"mean {self.accuracy:.1f} %, worst case {self.worst_case:.1f} %", fontsize=15
        )
        return axes


def _or_none(value):
    return None if math.isnan(value) else value
