"""The tables and figures published with the project are made from the results beside them."""

import importlib
import json
import pathlib

import pytest
from PIL import Image

from tests.experiments.engine.figure_checks import check_figure

RESULTS = sorted((pathlib.Path(__file__).parents[2] / "examples/results").glob("*/*/results.json"))


each_result = pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-3:-1]))


@each_result
def test_a_published_table_is_made_from_its_results(path):
    results = json.loads(path.read_text())
    report = importlib.import_module(f"keras_gappos.experiments.{results['experiment']}.report")
    assert (path.parent / "table.md").read_text("utf-8") == report.table(results)


@pytest.mark.slow
@each_result
def test_a_published_figure_can_be_read_and_is_of_the_size_that_is_drawn(path, monkeypatch):
    results, published = json.loads(path.read_text()), path.parent / "figure.png"
    report = importlib.import_module(f"keras_gappos.experiments.{results['experiment']}.report")
    figures = []
    monkeypatch.setattr(report, "write_files", lambda *files: figures.append(files[2]))
    report.write_report(path.parent, results)
    (figure,) = figures
    assert (figure is not None) == published.exists()
    if figure is not None:
        check_figure(figure)
        with Image.open(published) as image:
            assert image.size == pytest.approx(150 * figure.get_size_inches(), abs=1)


def test_there_are_results_of_every_experiment():
    experiments = {json.loads(path.read_text())["experiment"] for path in RESULTS}
    assert experiments == {"location", "invariance", "attack", "probe", "tune"}
