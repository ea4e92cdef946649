"""The tables published with the project are what the code makes of the results beside them."""

import importlib
import json
import pathlib

import pytest

RESULTS = sorted((pathlib.Path(__file__).parents[2] / "examples/results").glob("*/*/results.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_a_published_table_is_made_from_its_results(path):
    results = json.loads(path.read_text())
    report = importlib.import_module(f"keras_gappos.experiments.{results['experiment']}.report")
    assert (path.parent / "table.md").read_text("utf-8") == report.table(results)


def test_there_are_results_of_every_experiment():
    experiments = {json.loads(path.read_text())["experiment"] for path in RESULTS}
    assert experiments == {"location", "invariance", "attack", "probe", "tune"}
