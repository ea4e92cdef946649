"""A progress bar that appears only if something takes long."""

import time

import keras

DELAY = 3.0  # seconds before the bar appears


class ProgressBar:
    """Shows a bar with the time left after a few seconds, on a terminal or in a notebook.

    Args:
        description: what is being done.
        total: number of steps, or `None` if unknown.
        enabled: `False` never shows anything.
        console: a `rich.console.Console`, or `None` for standard output.

    Examples:
        >>> with ProgressBar("shift consistency", total=3) as bar:
        ...     squares = [bar.advance(number**2) for number in range(3)]
    """

    def __init__(self, description, total=None, enabled=True, console=None):
        self._total = total
        self._description, self._enabled, self._console = description, enabled, console
        self._done = 0
        self._bar = self._task = self._in_notebook = None

    def __enter__(self):
        self._start = time.monotonic()
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()
        if self._in_notebook is not None:
            self._in_notebook.update(self._done, finalize=True)

    def advance(self, result=None):
        """Counts one step as done, and returns `result`."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)
        elif self._in_notebook is not None:
            self._in_notebook.update(self._done, finalize=False)
        elif self._enabled and time.monotonic() - self._start > DELAY:
            self._show()
        return result

    def _show(self):
        from rich.console import Console
        from rich.progress import Progress

        console = self._console or Console()
        if console.is_jupyter:  # rich shows nothing there without ipywidgets
            console.print(self._description)
            self._in_notebook = keras.utils.Progbar(self._total)
            return
        if not console.is_terminal:
            self._enabled = False
            return
        self._bar = Progress(console=console, transient=True)
        self._task = self._bar.add_task(self._description, total=self._total, completed=self._done)
        self._bar.start()
