"""Which channels an ablation sweep switches off."""

import numpy as np

from keras_gappos.analysis.channels.ranking import ChannelRanking
from keras_gappos.arguments import integer, one_of
from keras_gappos.layers.channel_mask import channel_indices, keep_vector

BASELINES = ("random", "most_active")


class AblationPlan:
    """The sets of channels to switch off, each once, and what needs them.

    Args:
        channels: number of channels of the feature map.
        ranking, counts, baselines, draws, seed: as in `ablation_sweep`.

    Raises:
        ValueError: if they do not fit one another.

    Attributes:
        sets: boolean array `(sets, channels)`, `False` for the channels that are off.
        steps: list of `(ranking, count, places)`: its name, the number of channels, and where in
            `sets` they are, one place for each draw.

    Examples:
        >>> plan = AblationPlan(3, [2, 0], [0, 1], baselines=(), draws=1, seed=0)
        >>> plan.sets.astype(int).tolist(), plan.steps
        ([[1, 1, 1], [1, 1, 0]], [('ranking', 0, [0]), ('ranking', 1, [1])])
    """

    def __init__(self, channels, ranking, counts, baselines, draws, seed):
        rankings = _named(ranking)
        orders = {name: [_order(name, one, channels)] for name, one in rankings.items()}
        orders.update(_baselines(rankings, channels, baselines, draws, seed))
        counts = _counts(counts, channels)
        places, self.steps = {}, []
        for name, drawn in orders.items():
            for count in counts:
                if count > len(drawn[0]):
                    raise ValueError(
                        f"`counts` must not exceed the channels of a ranking. Received: {count}, "
                        f"where ranking {name!r} has {len(drawn[0])}"
                    )
                off = [frozenset(order[:count]) for order in drawn]
                found = [places.setdefault(channels_off, len(places)) for channels_off in off]
                self.steps.append((name, count, found))
        self.sets = np.stack([keep_vector(channels_off, channels) for channels_off in places])


def _named(ranking):
    if isinstance(ranking, ChannelRanking):
        return {str(ranking.settings["region"]): ranking}
    if not isinstance(ranking, dict):
        return {"ranking": ranking}
    if not ranking:
        raise ValueError("`ranking` must have an entry. Received: ranking={}")
    return ranking


def _order(name, ranking, channels):
    if isinstance(ranking, ChannelRanking):
        if len(ranking.channels) != channels:
            raise ValueError(
                f"`ranking` must be of the same feature map, which has {channels} channels. "
                f"Received: {name!r}, a ranking of {len(ranking.channels)} channels"
            )
        ranking = ranking.channels
    try:
        return channel_indices(ranking, channels)
    except ValueError as error:
        raise ValueError(
            f"`ranking` must be a ChannelRanking or a list of channels, best first. {error}, in "
            f"ranking {name!r}"
        ) from error


def _baselines(rankings, channels, baselines, draws, seed):
    draws, seed = integer("draws", draws, 1), integer("seed", seed, 0)
    orders = {}
    if baselines is None:
        measured = any(isinstance(ranking, ChannelRanking) for ranking in rankings.values())
        baselines = BASELINES if measured else BASELINES[:1]
    for name in (baselines,) if isinstance(baselines, str) else baselines:
        one_of("baselines", name, BASELINES)
        if name in rankings:
            raise ValueError(
                f"A ranking must not have the name of a baseline; leave that out of `baselines`. "
                f"Received: ranking={name!r}"
            )
        orders[name] = _random(channels, draws, seed) if name == "random" else [_active(rankings)]
    return orders


def _random(channels, draws, seed):
    rng = np.random.default_rng(seed)
    return [rng.permutation(channels).tolist() for _ in range(draws)]


def _active(rankings):
    for ranking in rankings.values():
        if isinstance(ranking, ChannelRanking):
            return np.argsort(-np.asarray(ranking.activity), kind="stable").tolist()
    raise ValueError(
        'The baseline "most_active" needs a ChannelRanking, which knows the activity; otherwise '
        'give baselines=("random",). Received: `ranking` of lists alone'
    )


def _counts(counts, channels):
    values = [integer("counts", count, 0, below=channels + 1) for count in np.atleast_1d(counts)]
    if not values or len(set(values)) < len(values):
        raise ValueError(
            f"`counts` must be numbers of channels, each once. Received: counts={counts!r}"
        )
    return values
