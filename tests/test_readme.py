import ast
import pathlib
import re

import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_readme_has_an_example_of_each_training():
    assert [name for name in ("GridTask", "AugShift") if name in "".join(EXAMPLES)] == [
        "GridTask",
        "AugShift",
    ]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_readmes_python_examples_run_and_give_what_they_say(example, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    *statements, last = ast.parse(example).body
    names = {}
    exec(compile(ast.Module(statements, []), "README.md", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "README.md", "eval"), names)
    assert shown == ast.literal_eval(example.rsplit("#", 1)[1].strip())
