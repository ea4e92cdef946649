"""Search spaces: which values a setting may take, and how a user narrows them."""

import dataclasses
import math
import numbers

import numpy as np

from keras_gappos.arguments import one_of


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values, of which each trial takes one.

    Attributes:
        values: all values there are.
        default: that of a setting that is not searched.
        about: what the setting is, in a few words.
        searched: whether it is searched without being named.
    """

    values: tuple
    default: object
    about: str = ""
    searched: bool = True

    def narrow(self, name, given):
        """These choices without those that a value, or a list of values, leaves out."""
        if isinstance(given, tuple):
            raise ValueError(
                f"`space[{name!r}]` must be a value or a list of values, out of {self.values}. "
                f"Received: {given}"
            )
        values = tuple(self._checked(name, value, given) for value in _some(name, given))
        default = self.default if self.default in values else values[0]
        return Choices(tuple(dict.fromkeys(values)), default, self.about)

    def _checked(self, name, value, given):
        value = value.item() if isinstance(value, np.generic) else value
        for known in self.values:  # of the same type, too: True is not 1
            if type(value) is type(known) and value == known:
                return known
        raise ValueError(f"`space[{name!r}]` must be out of {self.values}. Received: {given!r}")

    def declare(self, hp, name):
        """The value of a trial's `keras_tuner.HyperParameters`, in which it is entered."""
        values = self.values if self.searched else (self.default,)
        if len(values) == 1:
            return hp.Fixed(name, values[0])
        if isinstance(values[0], bool):  # which `Choice` would make integers
            return hp.Boolean(name, default=self.default)
        return hp.Choice(name, list(values), default=self.default)

    def __str__(self):
        return ", ".join(map(str, self.values))


@dataclasses.dataclass(frozen=True)
class Range:
    """All numbers between two, ends included.

    Attributes:
        low, high: the ends.
        default: the usual value.
        about: what the setting is, in a few words.
        is_integer: whether only integers count; else all numbers do, and each power of ten is as
            likely as the next.
    """

    low: float
    high: float
    default: float
    about: str = ""
    is_integer: bool = False
    searched = True  # ranges always are

    def narrow(self, name, given):
        """This range from a lower to a higher end, or, as `Choices`, some values of it only."""
        if not isinstance(given, tuple):
            values = tuple(self._checked(name, value, given) for value in _some(name, given))
            nearest = min(values, key=lambda value: abs(value - self.default))
            return Choices(tuple(dict.fromkeys(values)), nearest, self.about)
        if len(given) != 2:
            raise ValueError(f"`space[{name!r}]` must be (low, high). Received: {given}")
        low, high = (self._checked(name, value, given) for value in given)
        if low > high:
            raise ValueError(
                f"`space[{name!r}]` must be (low, high), and leave something between them. "
                f"Received: {given}"
            )
        if low == high:
            return Choices((low,), low, self.about)
        default = min(max(self.default, low), high)
        return dataclasses.replace(self, low=low, high=high, default=default)

    def _checked(self, name, value, given):
        kind = numbers.Integral if self.is_integer else numbers.Real
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or not self.low <= value <= self.high:
            what = "integers" if self.is_integer else "numbers"
            raise ValueError(
                f"`space[{name!r}]` must be {what} in [{self.low}, {self.high}]: a value, a list "
                f"of values, or (low, high). Received: {given!r}"
            )
        return int(value) if self.is_integer else float(value)

    def declare(self, hp, name):
        """The value of a trial's `keras_tuner.HyperParameters`, in which it is entered."""
        if self.is_integer:
            return hp.Int(name, self.low, self.high, default=self.default)
        return hp.Float(name, self.low, self.high, default=self.default, sampling="log")

    def __str__(self):
        scale = "" if self.is_integer else " (log)"
        return f"{self.low:g} to {self.high:g}{scale}"


def narrow(space, given):
    """A search space with less in it.

    Args:
        space: dictionary of names to `Choices` and `Range`s.
        given: dictionary of some of these names to a value (fixes the setting), a list of values,
            or `(low, high)`; `None` leaves the space as it is.

    Returns:
        A dictionary as `space`. Defaults that are no longer in it are replaced by the nearest
        numbers that are, or by the first choice.

    Raises:
        ValueError: for an unknown name, values of another type or out of bounds, or nothing left.

    Example:
        >>> space = narrow({"width": Range(8, 64, 16, is_integer=True)}, {"width": (32, 48)})
        >>> space["width"].default
        32
    """
    if not isinstance(given, dict | None):
        raise ValueError(
            "`space` must be a dictionary of settings to what is left of them, such as "
            f"{{{next(iter(space))!r}: [...]}}. Received: {given!r}"
        )
    narrowed = dict(space)
    for name, wanted in (given or {}).items():
        one_of("space", name, space)
        narrowed[name] = space[name].narrow(name, wanted)
    return narrowed


def parse_space(items):
    """Reads the command line's spelling of what `narrow` takes.

    Args:
        items: strings: `"width=16"`, `"width=8,16"`, or `"learning_rate=0.03:0.3"`.

    Returns:
        A dictionary.

    Raises:
        ValueError: for another spelling, or a name that comes twice.

    Example:
        >>> parse_space(["width=8,16", "learning_rate=0.03:0.3", "flip=true"])
        {'width': [8, 16], 'learning_rate': (0.03, 0.3), 'flip': True}
    """
    given = {}
    for item in items:
        name, _, text = item.partition("=")
        separator = ":" if ":" in text else ","
        parts = text.split(separator)
        if not (name and all(parts)) or name in given or (separator == ":" and len(parts) > 2):
            raise ValueError(
                "`space` must name each setting once, as NAME=VALUE, NAME=A,B or NAME=LOW:HIGH. "
                f"Received: {item!r}"
            )
        values = [_parsed(part) for part in parts]
        if separator == ":":
            given[name] = tuple(values)
        else:
            given[name] = values if len(values) > 1 else values[0]
    return given


def format_space(space):
    """A search space as a Markdown table.

    Args:
        space: dictionary of names to `Choices` and `Range`s.

    Returns:
        Its lines, a list of strings.
    """
    lines = ["| setting | values | default | what it is |", "|---|---|---|---|"]
    for name, dimension in space.items():
        about = dimension.about if dimension.searched else f"{dimension.about}; if named"
        lines.append(f"| `{name}` | {dimension} | {dimension.default} | {about} |")
    return lines


def _some(name, given):
    """The values of a list, or of one value."""
    values = given if isinstance(given, list) else [given]
    if not values:
        raise ValueError(f"`space[{name!r}]` must leave a value. Received: []")
    return values


def _parsed(text):
    """A bool, an integer, a finite number, or the text itself."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return text
