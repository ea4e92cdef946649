"""The result of a measurement of shift consistency, and the counts behind it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gappos.analysis.plots import data_frame, draw_shift_map, drawing
from keras_gappos.files import number_or_none

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLLAPSED = (
    "The model decides for the same {} on all {} images and under all shifts, so its consistency "
    "says nothing: it may have collapsed in training"
)


@dataclasses.dataclass(frozen=True)
class ConsistencyResult:
    """Shift consistency of a classifier, and its accuracy under shifts where labels were given.

    Attributes:
        consistency: percent of pairs of shifts under which the decision is the same: the top-1
            class or, of a multi-label classifier, the whole label set.
        stderr: standard error of `consistency`, in percentage points; NaN if only one value
            was seen. Over images for "random" and "exact"; over batches and pairs for "aps" and
            "crop", whose images in a batch share their shifts.
        pair_consistencies: the same percentage for each of the pairs; empty for "exact".
        accuracy: percent correct, mean over images and shifts; `None` without labels.
        worst_case: worst-case accuracy: percent of images that are correct under all shifts that
            were tried, or `None`.
        accuracy_map: array `(rows, columns)` of percent correct under each shift, NaN for a shift
            that was never drawn, or `None`.
        row_offsets: offset down of each row of the map, in pixels.
        column_offsets: offset to the right of each column of the map, in pixels.
        num_images: number of images.
        num_predicted_classes: number of different classes, or label sets, that were decided for
            under any shift. A network that has collapsed to one is fully consistent.
        agreement_of: what must be the same: `"top-1 class"` or `"label set"`.
        settings: dictionary of all settings needed to repeat the measurement.
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
    num_predicted_classes: int
    agreement_of: str
    settings: dict

    def to_dict(self) -> dict:
        """All of it as `json.dump` takes it; `None` for NaN."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if self.accuracy_map is not None:
            content["accuracy_map"] = [
                [number_or_none(value) for value in row] for row in self.accuracy_map.tolist()
            ]
        for name in ("pair_consistencies", "row_offsets", "column_offsets"):
            content[name] = list(content[name])
        return {**content, "stderr": number_or_none(self.stderr), "settings": dict(self.settings)}

    def to_dataframe(self) -> Any:
        """The accuracy map as a `pandas.DataFrame`: percent correct by shift down and right.

        Raises:
            ImportError: without pandas.
            ValueError: if the measurement had no labels.

        Examples:
            >>> result.to_dataframe().loc[-4, 0]  # 4 pixels up  # doctest: +SKIP
        """
        names = ("down", "right")
        frame = data_frame(self._labelled_map(), self.row_offsets, self.column_offsets)
        return frame.rename_axis(index=names[0], columns=names[1])

    def plot(self, ax: Axes | None = None, label: str | None = None, **image: Any) -> Axes:
        """Draws the accuracy map as a heat map.

        Args:
            ax: Matplotlib axes to draw on; `None` makes a figure.
            label: name of the model, for the title.
            **image: further arguments of `Axes.imshow`; for maps that compare, give all of them the
                same `vmin` and `vmax`.

        Returns:
            The axes; `.figure.savefig(path)` saves them.

        Raises:
            ValueError: if the measurement had no labels.

        Examples:
            >>> result.plot(vmin=0, vmax=100).figure.savefig("map.png", dpi=150)  # doctest: +SKIP
        """
        values = self._labelled_map()
        low, high = np.nanmin(values), np.nanmax(values)
        # A spread of less than one point would show noise in full color.
        margin = max(0, 1 - (high - low)) / 2
        limits = {"vmin": low - margin, "vmax": high + margin}
        with drawing(ax, size=(6.4, 5.2)) as ax:
            drawn = draw_shift_map(
                ax, values, self.row_offsets, self.column_offsets, **{**limits, **image}
            )
            measured = "top-1" if self.agreement_of == "top-1 class" else "label set"
            ax.figure.colorbar(drawn, ax=ax, label=f"{measured} accuracy (%)")
            if self.settings["protocol"] == "crop":
                ax.set(xlabel="crop from the left (pixels)", ylabel="crop from the top (pixels)")
            lines = [label] if label else []
            lines += [f"mean accuracy {self.accuracy:.1f} %"]
            lines += [f"worst-case accuracy {self.worst_case:.1f} %"]
            ax.set_title("\n".join(lines))
        return ax

    def _labelled_map(self):
        if self.accuracy_map is None:
            raise ValueError(
                "A map of accuracy needs labels. Give `labels`, or a data set that has them, to "
                "`shift_consistency`. Received: labels=None"
            )
        return self.accuracy_map


class ConsistencyCounts:
    """Counts agreements and correct answers, batch by batch.

    Memory does not grow with the images, but with the number of different label sets.

    Args:
        plan: the `ShiftPlan` that drew the shifts.
        classes: number of classes, or of labels.
    """

    def __init__(self, plan, classes):
        self._plan, self._classes = plan, classes
        self._images = 0
        self._predicted = set()
        self._agreement = Moments()
        self._pairs = np.zeros(plan.pairs or 0)
        grid = (len(plan.rows), len(plan.columns))
        self._correct, self._drawn = np.zeros(grid), np.zeros(grid)
        self._always_correct = 0
        self._labelled, self._agreement_of = None, "top-1 class"

    def add(self, views, decided, labels=None):
        """Counts one batch.

        Args:
            views: int array `(views, batch, 2)` of offsets, as the plan draws them.
            decided: int array `(views, batch)` of the classes under these, or
                `(views, batch, classes)` of label sets.
            labels: int array `(batch,)`, or `(batch, classes)` of label sets, or `None`.

        Raises:
            ValueError: if some batches have labels and others have none.
        """
        if self._labelled not in (None, labels is not None):
            raise ValueError("`images` must have labels in every batch or in none")
        self._labelled = labels is not None
        self._images += decided.shape[1]
        self._predicted |= distinct_decisions(decided)
        classes = self._classes
        if decided.ndim == 3:
            self._agreement_of = "label set"
            decided, labels, classes = number_label_sets(decided, labels)
        if self._plan.protocol == "exact":
            self._agreement.add(agreement_of_random_pairs(decided, classes))
        else:
            self._add_pairs(decided[0::2] == decided[1::2])
        if labels is not None:
            self._add_correct(views, decided == labels)

    def _add_pairs(self, agree):
        self._pairs += agree.sum(axis=1)
        if self._plan.shared:
            self._agreement.add(agree.mean(axis=1), weight=agree.shape[1])
        else:
            self._agreement.add(agree.mean(axis=0))

    def _add_correct(self, views, correct):
        place = views - np.array([self._plan.rows.start, self._plan.columns.start])
        index = np.ravel_multi_index((place[..., 0], place[..., 1]), self._drawn.shape).ravel()
        for total, weights in ((self._correct, correct.ravel()), (self._drawn, None)):
            total += np.bincount(index, weights, minlength=total.size).reshape(total.shape)
        self._always_correct += int(correct.all(axis=0).sum())

    def result(self, settings):
        """The `ConsistencyResult` of all that was added."""
        accuracy = worst_case = accuracy_map = None
        if self._labelled:
            accuracy = float(100 * self._correct.sum() / self._drawn.sum())
            worst_case = 100 * self._always_correct / self._images
            accuracy_map = 100 * self._correct / np.where(self._drawn > 0, self._drawn, np.nan)
        return ConsistencyResult(
            consistency=100 * self._agreement.mean,
            stderr=100 * self._agreement.standard_error,
            pair_consistencies=tuple((100 * self._pairs / self._images).tolist()),
            accuracy=accuracy,
            worst_case=worst_case,
            accuracy_map=accuracy_map,
            row_offsets=tuple(self._plan.rows),
            column_offsets=tuple(self._plan.columns),
            num_images=self._images,
            num_predicted_classes=len(self._predicted),
            agreement_of=self._agreement_of,
            settings=settings,
        )


def distinct_decisions(decided):
    """The different classes, or label sets as bytes, among the decisions that a batch got.

    Args:
        decided: as in `ConsistencyCounts.add`.
    """
    if decided.ndim == 2:
        return set(np.unique(decided).tolist())
    return set(map(bytes, np.unique(_packed(decided), axis=0)))


def _packed(sets):
    return np.packbits(sets.reshape(-1, sets.shape[-1]).astype(bool), axis=1)


def number_label_sets(decided, labels):
    """Numbers the label sets of a batch, so that they count as classes.

    Args:
        decided: int array `(views, batch, classes)` of 0 and 1.
        labels: int array `(batch, classes)` of 0 and 1, or `None`.

    Returns:
        `(decided, labels, count)`: int arrays `(views, batch)` and `(batch,)`, or `None`, of
        numbers in [0, count).
    """
    sets = decided if labels is None else np.concatenate([decided, labels[None]])
    kinds, numbers = np.unique(_packed(sets), axis=0, return_inverse=True)
    numbers = numbers.reshape(sets.shape[:2])
    return numbers[: len(decided)], None if labels is None else numbers[-1], len(kinds)


def agreement_of_random_pairs(decided, classes):
    """The probability that two shifts, drawn independently, get the same class.

    It is the sum over classes c of (n_c / S)^2, where c was decided n_c times out of S.

    Args:
        decided: int array `(shifts, batch)` of classes.
        classes: number of classes.

    Returns:
        Array `(batch,)` in [0, 1].

    Examples:
        >>> agreement_of_random_pairs(np.array([[0], [0], [2], [0]]), classes=3).tolist()
        [0.625]
    """
    shifts, batch = decided.shape
    cells = decided + classes * np.arange(batch)
    counts = np.bincount(cells.ravel(), minlength=batch * classes).reshape(batch, classes)
    return (counts**2).sum(axis=1) / shifts**2


class Moments:
    """Weighted mean of values, and its standard error, from running sums."""

    def __init__(self):
        self._count = 0
        self._weight = self._sum = self._weight_squared = self._cross = self._square = 0.0

    def add(self, values, weight=1):
        """Adds values of one weight each."""
        self._count += len(values)
        self._weight += weight * len(values)
        self._sum += weight * float(values.sum())
        # Of weight^2 times 1, the value, and its square.
        self._weight_squared += weight**2 * len(values)
        self._cross += weight**2 * float(values.sum())
        self._square += weight**2 * float((values**2).sum())

    @property
    def mean(self):
        """The weighted mean."""
        return self._sum / self._weight

    @property
    def standard_error(self):
        """The standard error of the mean; NaN for fewer than two values."""
        if self._count < 2:
            return math.nan
        mean = self.mean
        spread = self._square - 2 * mean * self._cross + mean**2 * self._weight_squared
        return math.sqrt(max(spread, 0) * self._count / (self._count - 1)) / self._weight
