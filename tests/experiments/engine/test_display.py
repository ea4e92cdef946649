import io

from rich.console import Console
from rich.table import Table

from keras_gappos.experiments.engine.display import RunDisplay, ShowProgress


def test_a_log_has_a_line_an_epoch_with_the_time_left(monkeypatch):
    text = io.StringIO()
    display = RunDisplay(100, lambda rows: Table(), Console(file=text, width=80))
    progress = ShowProgress(display, train_step=3, test_step=1, name="gapnet")
    progress.set_params({"epochs": 2})
    display.skip(40)  # done by an earlier run: tells nothing of the speed
    with display:
        progress.on_train_begin()
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


def test_a_terminal_says_that_it_compiles_and_then_shows_the_epochs_metrics():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    display = RunDisplay(100, lambda rows: Table(), console)
    progress = ShowProgress(display, train_step=3, test_step=1, name="gapnet")
    progress.set_params({"epochs": 2})

    def shown():
        console.print(display._progress)
        return console.file.getvalue()

    progress.on_train_begin()
    assert "gapnet: compiling" in shown()
    console.file.truncate(0)
    progress.on_train_batch_end(0)
    assert "compiling" not in shown()
    progress.on_epoch_end(0, {"loss": 0.25})
    progress.on_train_batch_end(0)
    assert "epoch 1/2: loss 0.2500" in shown()
