"""The code of the README and the pages runs and prints what they say; their links have targets."""

import configparser
import pathlib
import re

import pytest

pytest.importorskip("pytest_examples")
from pytest_examples import CodeExample, EvalExample, find_examples

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TENSORFLOW = {"augshift", "preprocessing", "export", "tuning", "finetuning"}


def examples_of(path):
    return [example for example in find_examples(path) if "python" in example.prefix]


def readme_example(example):
    slow = ".fit(" in example.source or "applications" in example.source
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(example, id=f"line {example.start_line}", marks=marks)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("example", map(readme_example, examples_of(ROOT / "README.md")))
def test_each_example_of_the_readme_runs_by_itself(example: CodeExample, eval_example: EvalExample):
    eval_example.run_print_check(example)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page, id=page.stem, marks=[pytest.mark.tensorflow] if page.stem in TENSORFLOW else []
        )
        for page in PAGES
        if examples_of(page)
    ],
)
def test_a_pages_code_runs_from_top_to_bottom(page, eval_example: EvalExample):
    names = {}
    for example in examples_of(page):
        names = eval_example.run_print_check(example, module_globals=names)


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *ROOT.glob("*/README.md")], ids=str)
def test_links_to_the_checkout_have_targets(page):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    repository = setup["metadata"]["url"]
    for link in re.findall(r"(?<=\]\()[^)\s]+", page.read_text()):
        path = link.partition("#")[0]
        if path.startswith(repository):
            assert (ROOT / path.removeprefix(repository).split("/main/")[1]).exists(), link
        elif path and "://" not in path:
            assert page != ROOT / "README.md", f"{link}: an index page needs absolute links"
            assert (page.parent / path).exists(), link
