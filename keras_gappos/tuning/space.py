"""Search spaces: the values of each setting, and how to narrow them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_gappos.arguments import one_of


@dataclasses.dataclass(frozen=True)
class Choices:
    """A setting with a list of values.

    Attributes:
        values: the values, a tuple.
        default: the value if the setting is not searched.
        about: a short description.
        searched: whether the setting is searched by default.
        least: if given, the values are suggestions, and any integer of at least this may be named.
    """

    values: tuple
    default: object
    about: str = ""
    searched: bool = True
    least: int | None = None

    def narrow(self, name: str, given: Any) -> Choices:
        """The choices that remain for a value, or a list of values."""
        if isinstance(given, tuple):
            raise ValueError(
                f"`space[{name!r}]` must be a value or a list of values, {self._allowed}. "
                f"Received: {given}"
            )
        values = tuple(self._checked(name, value, given) for value in _some(name, given))
        default = self.default if self.default in values else values[0]
        return Choices(tuple(dict.fromkeys(values)), default, self.about)

    def _checked(self, name, value, given):
        value = value.item() if isinstance(value, np.generic) else value
        for known in self.values:  # compare types, too: True is not 1
            if type(value) is type(known) and value == known:
                return known
        if self.least is not None and type(value) is int and value >= self.least:
            return value
        raise ValueError(f"`space[{name!r}]` must be {self._allowed}. Received: {given!r}")

    @property
    def _allowed(self):
        if self.least is None:
            return f"in {self.values}"
        return f"integers of at least {self.least}, such as {self.values}"

    def declare(self, hp: Any, name: str) -> Any:
        """Registers the setting in `keras_tuner.HyperParameters`, and returns its value."""
        values = self.values if self.searched else (self.default,)
        if len(values) == 1:
            return hp.Fixed(name, values[0])
        if isinstance(values[0], bool):  # `Choice` would convert them to integers
            return hp.Boolean(name, default=self.default)
        return hp.Choice(name, list(values), default=self.default)

    def __str__(self):
        return ", ".join(map(str, self.values))


@dataclasses.dataclass(frozen=True)
class Range:
    """A setting with all numbers in [low, high].

    Attributes:
        low, high: the bounds, inclusive, of the search by default.
        default: the value if the setting is not searched.
        about: a short description.
        is_integer: whether only integers count; real numbers are sampled on a log scale.
        least, most: the bounds, inclusive, of what may be named.
    """

    low: float
    high: float
    default: float
    about: str = ""
    is_integer: bool = False
    least: float = 0
    most: float = math.inf
    searched = True

    def narrow(self, name: str, given: Any) -> Choices | Range:
        """The range between new bounds `(low, high)`, or `Choices` for a value or a list."""
        if not isinstance(given, tuple):
            values = tuple(self._checked(name, value, given) for value in _some(name, given))
            nearest = min(values, key=lambda value: abs(value - self.default))
            return Choices(tuple(dict.fromkeys(values)), nearest, self.about)
        if len(given) != 2:
            raise ValueError(f"`space[{name!r}]` must be (low, high). Received: {given}")
        low, high = (self._checked(name, value, given) for value in given)
        if low > high or (low == 0 < high and not self.is_integer):
            above = "" if self.is_integer else "0 < "  # on a log scale
            raise ValueError(
                f"`space[{name!r}]` must be (low, high) with {above}low <= high. Received: {given}"
            )
        if low == high:
            return Choices((low,), low, self.about)
        default = min(max(self.default, low), high)
        return dataclasses.replace(self, low=low, high=high, default=default)

    def _checked(self, name, value, given):
        value = value.item() if isinstance(value, np.generic) else value
        fits = type(value) is int or (type(value) is float and not self.is_integer)
        if not fits or not (self.least <= value <= self.most and math.isfinite(value)):
            what = "integers" if self.is_integer else "numbers"
            closed = math.isfinite(self.most)
            bounds = f"in [{self.least}, {self.most}]" if closed else f"of at least {self.least}"
            raise ValueError(
                f"`space[{name!r}]` must be {what} {bounds}: a value, a list of values, or "
                f"(low, high). Received: {given!r}"
            )
        return int(value) if self.is_integer else float(value)

    def declare(self, hp: Any, name: str) -> Any:
        """Registers the setting in `keras_tuner.HyperParameters`, and returns its value."""
        if self.is_integer:
            return hp.Int(name, self.low, self.high, default=self.default)
        return hp.Float(name, self.low, self.high, default=self.default, sampling="log")

    def __str__(self):
        scale = "" if self.is_integer else " (log)"
        return f"{self.low:g} to {self.high:g}{scale}"


def narrow(space: dict[str, Choices | Range], given: dict | None) -> dict[str, Choices | Range]:
    """Narrows a search space, or moves it: its values are suggestions where others make sense.

    Args:
        space: dictionary from name to `Choices` or `Range`.
        given: dictionary from some of these names to a value (fixes the setting), a list of values,
            or `(low, high)`; `None` keeps the whole space.

    Returns:
        The space to search. A default outside it is replaced by the nearest number in it, or by the
        first choice.

    Raises:
        ValueError: for an unknown name, a value of the wrong type or out of bounds, or no values.

    Examples:
        >>> space = narrow({"width": Range(8, 64, 16, is_integer=True)}, {"width": (32, 48)})
        >>> space["width"].default
        32
    """
    if not isinstance(given, dict | None):
        raise ValueError(
            "`space` must be a dictionary from settings to their values, such as "
            f"{{{next(iter(space))!r}: [...]}}. Received: {given!r}"
        )
    narrowed = dict(space)
    for name, wanted in (given or {}).items():
        one_of("space", name, space)
        narrowed[name] = space[name].narrow(name, wanted)
    return narrowed


def parse_space(items: Iterable[str]) -> dict[str, Any]:
    """Parses the command line's `--space`.

    Args:
        items: strings: `"width=16"`, `"width=8,16"`, or `"learning_rate=0.03:0.3"`.

    Returns:
        A dictionary for `narrow`.

    Raises:
        ValueError: for any other form, or a repeated name.

    Examples:
        >>> parse_space(["width=8,16", "learning_rate=0.03:0.3", "flip=true"])
        {'width': [8, 16], 'learning_rate': (0.03, 0.3), 'flip': True}
    """
    given: dict[str, Any] = {}
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


def format_space(space: dict[str, Choices | Range]) -> list[str]:
    """The lines of a Markdown table of a search space, as `narrow` takes it."""
    lines = ["| setting | values | default | what it is |", "|---|---|---|---|"]
    for name, dimension in space.items():
        about = dimension.about if dimension.searched else f"{dimension.about}; if named"
        lines.append(f"| `{name}` | {dimension} | {dimension.default} | {about} |")
    return lines


def _some(name, given):
    """The given values as a list."""
    values = given if isinstance(given, list) else [given]
    if not values:
        raise ValueError(f"`space[{name!r}]` must have a value. Received: []")
    return values


def _parsed(text):
    """The text as a bool, an integer, a finite number, or itself."""
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
