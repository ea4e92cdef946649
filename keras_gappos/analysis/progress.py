"""A progress bar that appears only if something takes long."""

from __future__ import annotations

import time
from typing import Any

DELAY = 3.0  # seconds before the bar appears


class ProgressBar:
    """Shows a bar with the time left after a few seconds, on a terminal or in a notebook.

    Args:
        description: what is being done.
        total: number of steps, or `None` if unknown.
        enabled: `False` never shows anything.

    Examples:
        >>> with ProgressBar("shift consistency", total=3) as bar:
        ...     squares = [bar.advance(number**2) for number in range(3)]
    """

    def __init__(self, description, total=None, enabled=True):
        self._description, self._total, self._enabled = description, total, enabled
        self._done, self._bar = 0, None

    def __enter__(self):
        self._start = time.monotonic()
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def advance(self, result=None):
        """Counts one step as done, and returns `result`."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif self._enabled and time.monotonic() - self._start > DELAY:
            options = {"desc": self._description, "total": self._total, "initial": self._done}
            self._bar = make_bar(**options)
        return result


def make_bar(**options: Any) -> Any:
    """A `tqdm` bar that shows on a terminal or in a notebook only, and is gone when it is closed.

    Args:
        **options: of `tqdm.tqdm`.
    """
    from rich.console import Console
    from tqdm import tqdm

    options = {"disable": None, "leave": False, **options}  # `None`: where there is no terminal
    if Console().is_jupyter and not options["disable"]:
        options |= {"file": _NotebookOutput(), "ncols": 80}
    return tqdm(**options)


class _NotebookOutput:
    """A file that shows in one output of a notebook's cell what was written last.

    `tqdm.auto` needs ipywidgets, and leaves a bar at 0 % in the notebook's file; Keras' bar leaves
    an output for each of its updates.
    """

    encoding = "utf-8"

    def __init__(self):
        from IPython.display import display

        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text):
        """Replaces what is shown."""
        self._handle.update({"text/plain": text.strip()}, raw=True)

    def flush(self):
        """Nothing to do: each text is shown at once."""
