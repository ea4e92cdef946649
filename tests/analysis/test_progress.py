import io
import sys
import types

import pytest

from keras_gappos.analysis import progress
from keras_gappos.analysis.progress import ProgressBar, make_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def notebook(monkeypatch):
    """The texts of the outputs of a notebook's cell, of which each is a list of its versions."""
    outputs = []

    def display(data, raw, display_id):
        outputs.append([data["text/plain"]])
        return types.SimpleNamespace(
            update=lambda data, raw: outputs[-1].append(data["text/plain"])
        )

    shell = type("ZMQInteractiveShell", (), {"__module__": "ipykernel.zmqshell"})()
    monkeypatch.setattr("builtins.get_ipython", lambda: shell, raising=False)
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    module = types.SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return outputs


@pytest.mark.parametrize("total", [300, None])
def test_a_notebook_gets_one_output_that_is_empty_in_the_end(total, notebook, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", -1.0)
    with ProgressBar("counting", total) as bar:
        assert [bar.advance(number) for number in range(300)] == [*range(300)]
    (versions,) = notebook
    assert "counting" in versions[1] and "1" in versions[1]
    assert versions[-1] == ""
    assert "".join(capsys.readouterr()) == ""


def test_what_shows_no_bar_makes_no_output_in_a_notebook(notebook):
    make_bar(total=10, disable=True).close()
    with ProgressBar("counting", 3) as bar:
        bar.advance()
    assert notebook == []


def test_a_terminal_gets_a_bar_that_is_gone_in_the_end(monkeypatch):
    monkeypatch.setattr(progress, "DELAY", -1.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("counting", 4) as bar:
        bar.advance()
        assert "counting" in sys.stderr.getvalue() and "1/4" in sys.stderr.getvalue()
    assert sys.stderr.getvalue().rsplit("\r", 2)[1].strip() == ""


@pytest.mark.parametrize(("delay", "enabled"), [(-1.0, True), (60.0, True), (-1.0, False)])
def test_nothing_is_shown_in_a_file_or_before_it_takes_long(delay, enabled, monkeypatch, capsys):
    monkeypatch.setattr(progress, "DELAY", delay)
    if delay > 0 or not enabled:
        monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("counting", 3, enabled=enabled) as bar:
        for _ in range(3):
            bar.advance()
    shown = sys.stderr.getvalue() if isinstance(sys.stderr, Terminal) else ""
    assert (shown, *capsys.readouterr()) == ("", "", "")
