"""Scores of an ablation sweep: summed up batch by batch, then made rows."""

import math

import numpy as np

from keras_gappos.analysis.class_labels import class_indices
from keras_gappos.analysis.confusion_matrix import ConfusionMatrix
from keras_gappos.analysis.segmentation import RegionScores, maps_of


class PixelTally:
    """Scores of a segmentation with one set of channels off.

    Args:
        num_classes: number of classes.
        ignore_class: label of the pixels that do not count, or `None`.
        regions: as in `ablation_sweep`.
    """

    def __init__(self, num_classes, ignore_class, regions):
        regions = ("whole", "left", "right") if regions is None else regions
        self._scores = RegionScores(num_classes, ignore_class, regions)

    def truth(self, masks, shape):
        """Where the pixels of a batch count; masks must be of the decisions' shape."""
        return self._scores.places(maps_of(masks, shape))

    def add(self, truth, decided):
        """Counts the pixels of a batch."""
        self._scores.add_at(truth, decided)

    def scores(self):
        """Dictionary from region to a dictionary of scores in percent."""
        matrices = self._scores.matrices.items()
        return {
            region: {"miou": matrix.miou, "accuracy": matrix.accuracy, "iou": matrix.iou}
            for region, matrix in matrices
        }


class ClassTally:
    """The accuracy of a classifier with one set of channels off; arguments as `PixelTally`'s."""

    def __init__(self, num_classes, ignore_class, regions):
        if regions is not None and list(regions) != ["whole"]:
            raise ValueError(
                '`regions` of a classifier must be ("whole",), or None. '
                f"Received: regions={regions!r}"
            )
        if ignore_class is not None:
            raise ValueError(
                f"`ignore_class` is for segmentation. Received: ignore_class={ignore_class!r}"
            )
        self._confusion = ConfusionMatrix(num_classes)

    def truth(self, labels, shape):
        """The labels of a batch, class indices."""
        if labels is None:
            raise ValueError("`masks` must be the classifier's labels. Received: no labels")
        return class_indices(labels, self._confusion.num_classes)

    def add(self, truth, decided):
        """Counts the images of a batch."""
        self._confusion.add(truth, decided)

    def scores(self):
        """Dictionary from region, "whole", to a dictionary of scores in percent."""
        return {"whole": {"top1": self._confusion.accuracy}}


def rows_of(plan, tallies):
    """The rows of a sweep, as `ablation_sweep` returns them.

    Args:
        plan: the `AblationPlan`.
        tallies: list of tallies, one for each of the plan's sets.
    """
    scores = [tally.scores() for tally in tallies]
    rows = []
    for ranking, count, places in plan.steps:
        for region in scores[0]:
            drawn = [scores[place][region] for place in places]
            row = {"ranking": ranking, "count": count, "region": region}
            row.update({name: _mean([one[name] for one in drawn]) for name in drawn[0]})
            if ranking == "random":
                name = next(iter(drawn[0]))  # the score that the sweep is about
                values = [one[name] for one in drawn]
                row[f"{name}_draws"] = [_or_none(value) for value in values]
                row[f"{name}_std"] = _or_none(np.std(values, ddof=1)) if values[1:] else None
            rows.append(row)
    return rows


def _mean(values):
    """Mean of numbers, or of each entry of arrays, over those that are not NaN; `None` for none."""
    count = (~np.isnan(values)).sum(axis=0)
    mean = np.where(count, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
    return [_or_none(value) for value in mean] if mean.ndim else _or_none(mean)


def _or_none(value):
    return None if math.isnan(value) else float(value)
