import io
import types

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_gappos.experiments.engine.display import RunDisplay, ShowProgress
from keras_gappos.experiments.tune.progress import SearchWatch


def test_a_log_has_a_line_an_epoch_with_the_time_left(monkeypatch):
    text = io.StringIO()
    display = RunDisplay(100, lambda rows: Table(), Console(file=text, width=80))
    progress = ShowProgress(display, train_step=3, test_step=1, name="gapnet")
    progress.set_params({"epochs": 2})
    display.skip(40)  # done by an earlier run: tells nothing of the speed
    with display:
        progress.on_train_begin()
        progress.on_epoch_begin(0)
        for batch in range(5):
            progress.on_train_batch_end(batch)
        progress.on_test_batch_end(0)
        progress.on_test_batch_end(1)
        progress.on_test_batch_end(2)
        progress.on_test_batch_end(3)
        progress.on_test_batch_end(4)
        now = display._start + 120  # 20 of the 60 units to do took two minutes, 40 are left
        monkeypatch.setattr("time.monotonic", lambda: now)
        progress.on_epoch_end(0, {"loss": 0.25})
    assert text.getvalue() == "gapnet, epoch 1/2: loss 0.2500; about 4 min left\n"


def test_a_terminal_gets_no_log_lines():
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True)
    with RunDisplay(10, lambda rows: Table(), console) as display:
        display.show([], "gapnet")
        display.log("a line")
    assert "a line" not in text.getvalue()
    assert "gapnet" in text.getvalue()


def test_a_command_in_a_notebook_gets_a_line_an_epoch_although_it_has_a_terminal(monkeypatch):
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True)
    with RunDisplay(10, lambda rows: Table("column"), console) as display:
        display.show([], "gapnet")
        display.advance(5)
        display.log("a line")
    assert text.getvalue() == "a line\n"


def shown(display):
    """What a display shows beside its bar."""
    display.console.file.truncate(0)
    display.console.print(display._progress)
    return display.console.file.getvalue()


def test_a_terminal_says_that_it_compiles_and_then_shows_the_running_metrics(monkeypatch):
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    display = RunDisplay(100, lambda rows: Table(), console)
    progress = ShowProgress(display, train_step=3, test_step=1, name="gapnet")
    progress.set_params({"epochs": 2})
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    progress.on_train_begin()
    assert "gapnet: compiling" in shown(display)
    progress.on_epoch_begin(0)
    progress.on_train_batch_end(0, {"loss": np.float32(0.5)})
    assert "epoch 1/2: loss 0.5000" in shown(display)
    progress.on_train_batch_end(1, {"loss": np.float32(0.25)})
    assert "loss 0.5000" in shown(display)  # not read again so soon
    clock[0] += 5
    progress.on_train_batch_end(2, {"loss": np.float32(0.25)})
    assert "epoch 1/2: loss 0.2500" in shown(display)
    progress.on_epoch_begin(1)
    progress.on_train_batch_end(0, {"loss": np.float32(0.125)})
    assert "epoch 2/2: loss 0.1250" in shown(display)


def test_a_search_says_that_a_trial_compiles():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    display = RunDisplay(100, lambda rows: Table(), console)
    folder = types.SimpleNamespace(rows=[], content={"settings": {"epochs": 1}})
    running = {"0": types.SimpleNamespace(trial_id="0")}
    watch = SearchWatch(folder, display, trials=3)
    watch.listen(types.SimpleNamespace(trials={}, records={}, ongoing_trials=running))

    watch.on_train_begin()
    assert "0 of 3 trials done, trial 0: compiling" in shown(display)
    watch.on_train_batch_end(0)
    assert "trial 0" in shown(display)
    assert "compiling" not in shown(display)
