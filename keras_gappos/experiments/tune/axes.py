"""Settings of a search as text, and as places on the axes of its figure."""

import math

import numpy as np

_LOGARITHMIC = ("consistency_weight", "learning_rate", "weight_decay")
_EVEN = ("depth", "width", "batch_size")  # numbers to choose from, spaced like names
_TICKS = 6  # at most, on an axis of numbers
_SPREAD = 0.05  # of an axis, over which lines through the same choice lie beside each other
_ROOM = 0.05  # of an axis, that a tick's text needs
_ZERO = 0.12  # of a logarithmic axis, from 0 to the smallest other value


def setting_label(name):
    """What a setting is called in tables and figures, with its unit."""
    return {"max_shift": "max shift (px)"}.get(name, name.replace("_", " "))


def setting_text(value):
    """A setting's value, short."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def axis_of(name, values):
    """Places on a vertical axis from 0 to 1, and its ticks.

    Args:
        name: of the setting or score; by it the axis is logarithmic, or for choices.
        values: numbers, or anything else to choose from, one for each trial.

    Returns:
        `(places, ticks)`: floats, and a list of `(place, text)`.
    """
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not numbers or name in _EVEN:
        return _even_axis(values)
    values = np.array(values, float)
    if name in _LOGARITHMIC and (values > 0).any():
        return _logarithmic_axis(values)
    low, high = values.min(), values.max()
    scale = _scale(low, high)
    ticks = [(scale(tick), f"{tick:g}") for tick in _linear_ticks(values)]
    return scale(values), _with_ends(ticks, [(scale(end), f"{end:.3g}") for end in (low, high)])


def _even_axis(values):
    """Choices at even distances, in their order if they have one."""
    choices = list(dict.fromkeys(values))
    try:
        choices.sort()
    except TypeError:  # None among others
        choices.sort(key=str)
    scale = _scale(0, len(choices) - 1)
    beside = _SPREAD * np.linspace(-1, 1, len(values)) / 2 if len(choices) > 1 else 0.0
    places = scale(np.array([choices.index(value) for value in values], float)) + beside
    return places, [(scale(i), setting_text(choice)) for i, choice in enumerate(choices)]


def _logarithmic_axis(values):
    """A logarithmic axis; 0, which has no place there, is at its foot."""
    positive = values[values > 0]
    low, high = positive.min(), positive.max()
    foot = _ZERO if (values <= 0).any() else 0.0
    unit = _scale(np.log(low), np.log(high))

    def scale(value):
        logarithm = np.log(np.where(value > 0, value, low))
        return np.where(value > 0, foot + (1 - foot) * unit(logarithm), 0.0)

    ticks = [0.0] * (foot > 0) + _logarithmic_ticks(low, high)
    ticks = [(float(scale(tick)), f"{tick:g}") for tick in ticks]
    ends = [(float(scale(end)), f"{end:.2g}") for end in (low, high)]
    return scale(values), _with_ends(ticks, ends)


def _with_ends(ticks, ends):
    """Ticks `(place, text)` from the foot up, with those of the ends that have room."""
    for end in ends:
        if all(abs(end[0] - place) >= _ROOM for place, _ in ticks):
            ticks = [*ticks, end]
    return sorted(ticks)


def _scale(low, high):
    """The linear function that takes `low` to 0 and `high` to 1, or both to the middle."""
    return lambda value: (value - low) / (high - low) if high > low else 0.5 + 0.0 * value


def _linear_ticks(values):
    from matplotlib.ticker import MaxNLocator

    low, high = values.min(), values.max()
    if low == high:
        return [low]
    whole = bool((values == values.round()).all())
    ticks = MaxNLocator(_TICKS, integer=whole).tick_values(low, high)
    return [tick for tick in ticks if low <= tick <= high]


def _logarithmic_ticks(low, high):
    """Round numbers from `low` to `high`, as many as can be read."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= _TICKS:
            break
    return ticks
