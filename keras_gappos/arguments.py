"""Checks of arguments, whose errors name the argument, the value and what would do."""

import difflib
import operator


def integer(name, value, minimum, below=None):
    """Returns `value` as an `int`, if it is an integer (NumPy's too) in [minimum, below).

    Raises:
        ValueError: if it is not; the message names the argument.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < minimum or (below is not None and number >= below):
        bounds = f"of at least {minimum}" if below is None else f"in [{minimum}, {below})"
        raise ValueError(f"`{name}` must be an integer {bounds}. Received: {name}={value!r}")
    return number


def one_of(name, value, choices):
    """Returns `value`, if it is one of `choices`.

    Raises:
        ValueError: if it is not; the message names the argument and the choices.
    """
    choices = tuple(choices)
    if value not in choices:
        near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}{hint}")
    return value
