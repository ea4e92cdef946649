import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def examples_of(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def marks_of(page, example):
    marks = [pytest.mark.tensorflow] if "import tensorflow" in example else []
    # They train, or build MobileNets.
    slow = page in ("docs/antialias.md", "docs/tuning.md") or ".fit(" in example
    return [*marks, pytest.mark.slow] if slow else marks


EXAMPLES = examples_of("README.md")
PAGES = ("antialias", "padding", "preprocessing", "training", "tuning")
ALL = [
    pytest.param(example, id=f"{page}-{number}", marks=marks_of(page, example))
    for page in (
        "README.md",
        *(f"docs/{name}.md" for name in PAGES),
    )
    for number, example in enumerate(examples_of(page))
]


def test_the_readme_has_an_example_of_each_training():
    assert [name for name in ("GridTask", "AugShift") if name in "".join(EXAMPLES)] == [
        "GridTask",
        "AugShift",
    ]


@pytest.mark.parametrize("example", ALL)
def test_the_pages_python_examples_run_and_give_what_they_say(example, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    *statements, last = ast.parse(example).body
    names = {}
    exec(compile(ast.Module(statements, []), "page", "exec"), names)
    shown = eval(compile(ast.Expression(last.value), "page", "eval"), names)
    assert shown == ast.literal_eval(example.rsplit("#", 1)[1].strip())


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("page", "files"),
    [
        ("docs/consistency.md", {"features.png"}),
        ("docs/export.md", {"saved_model"}),
        ("docs/finetuning.md", set()),
    ],
)
def test_a_pages_code_runs_from_top_to_bottom(page, files, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile("\n".join(examples_of(page)), page, "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == files
    assert "result" not in names or 0 <= names["result"].consistency <= 100
