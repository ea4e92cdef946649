"""What a long run shows: a table that grows, and a bar with the time left."""

import math
import os
import time

import keras
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REFRESH = 1.0  # seconds between two readings of an epoch's running metrics


def plain_console() -> Console:
    """A console on standard output that prints text in notebooks, too, not a table a line."""
    return Console(force_jupyter=False)


class RunDisplay:
    """Shows a table of rows above one progress bar over a whole experiment.

    On a terminal the display is live; in a log and in a notebook, whose commands after `!` count as
    such, every epoch and every row is one line.

    Args:
        total: the work to do, in any unit.
        make_table: function of rows that gives a `rich.table.Table`.
        console: a `rich.console.Console`, or `None` for standard output.
    """

    def __init__(self, total, make_table, console=None):
        self.console = console or plain_console()
        self._make_table = make_table
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            speed_estimate_period=600,
        )
        self._bar = self._progress.add_task("", total=total)
        self._live = Live(console=self.console, transient=True, refresh_per_second=2)
        self._start, self._skipped = time.monotonic(), 0

    def __enter__(self):
        if self.is_live:
            self._live.start()
        return self

    def __exit__(self, *_):
        if self.is_live:
            self._live.stop()

    @property
    def is_live(self):
        """Whether the console is a terminal, which can move its cursor back; notebooks cannot."""
        # Jupyter gives its kernels this variable, and commands that they start a terminal.
        return self.console.is_terminal and "JPY_PARENT_PID" not in os.environ

    def show(self, rows, description=""):
        """Shows these rows, and what is being done now."""
        self.describe(description)
        self._live.update(Group(self._make_table(rows), self._progress))

    def describe(self, description):
        """Says what is being done now, beside the bar."""
        self._progress.update(self._bar, description=description)

    def advance(self, work):
        """Counts work as done."""
        self._progress.advance(self._bar, work)

    def skip(self, work):
        """Counts work that was done by an earlier run, or need not be done."""
        self._skipped += work
        self._progress.advance(self._bar, work)

    def log(self, line):
        """Prints a line, with the time left, where there is no live display."""
        if not self.is_live:
            self.console.print(f"{line}{self._time_left()}", highlight=False, soft_wrap=True)

    def _time_left(self):
        task = self._progress.tasks[self._bar]
        done = task.completed - self._skipped
        if done <= 0:
            return ""
        seconds = (time.monotonic() - self._start) * (task.total - task.completed) / done
        return f"; about {seconds / 60:.0f} min left" if seconds >= 60 else ""


class ShowProgress(keras.callbacks.Callback):
    """Moves a `RunDisplay` on with every batch of `fit` or `evaluate`.

    Args:
        display: the `RunDisplay`.
        train_step, test_step: work that one training step, or one test step, counts for.
        name: what is trained, for the log.
    """

    def __init__(self, display, train_step, test_step, name):
        super().__init__()
        self._display, self._name = display, name
        self._train_step, self._test_step = train_step, test_step

    def on_train_begin(self, logs=None):
        """Says why nothing moves: the first step is traced, which can take a minute."""
        self._display.describe(f"{self._name}: compiling")

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the epoch, whose metrics are shown from its first step on."""
        self._epoch, self._shown = epoch + 1, -math.inf

    def on_train_batch_end(self, batch, logs=None):
        """Counts a training step, and shows the epoch's loss and metrics up to now."""
        self._display.advance(self._train_step)
        # Reading the metrics waits for the device, so not after each step.
        if self._display.is_live and time.monotonic() - self._shown >= _REFRESH:
            self._shown = time.monotonic()
            self._display.describe(self._line(logs))

    def on_test_batch_end(self, batch, logs=None):
        """Counts a test step."""
        self._display.advance(self._test_step)

    def on_epoch_end(self, epoch, logs=None):
        """Logs the epoch's loss and metrics."""
        self._display.log(self._line(logs))

    def _line(self, logs):
        metrics = ", ".join(f"{key} {float(value):.4f}" for key, value in (logs or {}).items())
        return f"{self._name}, epoch {self._epoch}/{self.params['epochs']}: {metrics}"
