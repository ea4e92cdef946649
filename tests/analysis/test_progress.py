import io

import pytest
from rich.console import Console

from keras_gappos.analysis import progress
from keras_gappos.analysis.progress import ProgressBar


@pytest.mark.parametrize("total", [3, None])
def test_a_notebook_gets_plain_progress(total, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", -1.0)
    console = Console(force_jupyter=True, file=io.StringIO())
    with ProgressBar("counting", total, console=console) as bar:
        assert [bar.advance(number) for number in range(3)] == [0, 1, 2]
    assert f"3/{total or 'Unknown'}" in capsys.readouterr().out


@pytest.mark.parametrize(("terminal", "delay"), [(False, -1.0), (True, 60.0)])
def test_nothing_is_shown_in_a_file_or_before_it_takes_long(terminal, delay, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", delay)
    shown = io.StringIO()
    with ProgressBar("counting", 3, console=Console(file=shown, force_terminal=terminal)) as bar:
        for _ in range(3):
            bar.advance()
    assert (shown.getvalue(), capsys.readouterr().out) == ("", "")
