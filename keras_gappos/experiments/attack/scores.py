"""The sweep of the attack: mIoU with channels off."""

import numpy as np

from keras_gappos.analysis import ablation_sweep
from keras_gappos.analysis.regions import region_slices
from keras_gappos.analysis.segmentation import segmentation_scores
from keras_gappos.experiments.engine.effects import costs, telling_counts

REGIONS = ("whole", "left", "right")


def sweep_rows(network, batches, test_masks, rankings, counts, latent, draws, seed, ignore_class):
    """Rows of the sweep over rankings and baselines, with the mIoU of the classes that are there.

    A class counts in a region if the truth has it there. One that is nowhere in the truth would
    count with an IoU of 0 as soon as a single pixel is taken for it, so that a stray pixel moves
    the mean by more than any channel; what it takes from the other classes does count.

    Args:
        network: the segmentation network.
        batches: batches of test images and masks, for `ablation_sweep`.
        test_masks: integers `(n, height, width)`, the same masks in one array, with a class that
            is not ignored in each half.
        rankings: dictionary from name to `ChannelRanking`.
        counts: numbers of channels to switch off.
        latent: name of the layer that gives the feature map.
        draws, seed: of the random baseline.
        ignore_class: label of pixels that do not count.

    Returns:
        A list of dictionaries with `ranking` (the given ones, "random", "most_active"), `count`,
        `region`, `miou`, `accuracy` and `iou`, all in percent; `iou` has `None` for a class that
        the truth has not. Rows of "random" have `miou_draws` and `miou_std` besides.
    """
    channels = len(next(iter(rankings.values())).channels)
    rng = np.random.default_rng(seed)
    # As rankings of their own, so that each draw's IoUs are known and not their mean alone.
    orders = {f"random {draw}": rng.permutation(channels).tolist() for draw in range(draws)}
    rows = ablation_sweep(
        network,
        batches,
        None,
        {**rankings, **orders},
        counts,
        REGIONS,
        latent=latent,
        baselines=("most_active",),
        ignore_class=ignore_class,
        progress=False,
    )
    present = {
        region: _present(test_masks, region, network.output_shape[-1], ignore_class)
        for region in REGIONS
    }
    rows = [_of_present_classes(row, present[row["region"]]) for row in rows]
    merged, others = [], [row for row in rows if row["ranking"] not in orders]
    for count in counts:
        for region in REGIONS:
            drawn = [
                row
                for row in rows
                if row["ranking"] in orders and (row["count"], row["region"]) == (count, region)
            ]
            merged.append(_merged(drawn))
    return [*others, *merged]


def intact_scores(network, batches, test_masks, ignore_class):
    """`miou` and `accuracy` of a whole network on whole images, in percent, as in `sweep_rows`.

    Args:
        network, batches, test_masks, ignore_class: as in `sweep_rows`.
    """
    scores = segmentation_scores(
        network, batches, ignore_class=ignore_class, regions=("whole",), progress=False
    )
    whole = {"iou": scores["whole"].iou, "accuracy": scores["whole"].accuracy}
    present = _present(test_masks, "whole", network.output_shape[-1], ignore_class)
    return {k: _of_present_classes(whole, present)[k] for k in ("miou", "accuracy")}


def largest_side_effect(rows: list[dict], side: str) -> tuple[int, float, float]:
    """The count at which the channels of one side cost its half most beyond the other half.

    Of counts that are equal to a tenth of a point it is the smallest.

    Args:
        rows: rows of one network's sweep.
        side: "left" or "right".

    Returns:
        `(count, own, other)`: the count, and the cost there in the side's own half and in the
        other one, in points of mIoU.
    """
    own_half, other_half = ("left", "right") if side == "left" else ("right", "left")
    found = costs(rows, "miou", region=own_half)
    own, other = found[side], costs(rows, "miou", region=other_half)[side]
    count = max(telling_counts(found), key=lambda n: (round(own[n] - other[n], 1), -n))
    return count, own[count], other[count]


def _present(masks, region, num_classes, ignore_class):
    """Boolean array: which classes the truth has in a region."""
    part = masks[(..., *region_slices(region, *masks.shape[1:]))]
    labels = np.unique(part)
    present = np.zeros(num_classes, bool)
    present[labels[labels != ignore_class]] = True
    return present


def _of_present_classes(row, present):
    iou = [value if there else None for value, there in zip(row["iou"], present)]
    return {**row, "iou": iou, "miou": float(np.mean([v for v in iou if v is not None]))}


def _merged(drawn):
    """One row of the mean over the draws."""
    draws = [row["miou"] for row in drawn]
    ious = zip(*(row["iou"] for row in drawn))
    return {
        **drawn[0],
        "ranking": "random",
        "miou": float(np.mean(draws)),
        "accuracy": float(np.mean([row["accuracy"] for row in drawn])),
        "iou": [None if None in values else float(np.mean(values)) for values in ious],
        "miou_draws": draws,
        "miou_std": float(np.std(draws, ddof=1)) if len(draws) > 1 else None,
    }
