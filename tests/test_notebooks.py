"""The notebooks run, and show what their text says."""

import pathlib
import re

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = pathlib.Path(__file__).parents[1] / "docs" / "notebooks"


def run(name, folder):
    """The texts that the cells print; the outputs must be of the kinds that are published."""
    published = nbformat.read(NOTEBOOKS / name, 4)
    notebook = nbformat.read(NOTEBOOKS / name, 4)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources=resources
    ).execute()
    assert [kinds(cell) for cell in notebook.cells] == [kinds(cell) for cell in published.cells]
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    )


def kinds(cell):
    return {
        kind
        for output in cell.get("outputs", [])
        for kind in output.get("data", {output.get("name"): None})
        if kind != "stderr"
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_position_is_in_the_order_of_the_channels(tmp_path):
    printed = run("position_in_channels.ipynb", tmp_path)
    gapnet, favorites, shuffled, chance, permutenet = (
        float(number) for number in re.findall(r"([\d.]+)%", printed)
    )
    assert gapnet == 100
    assert favorites > 80
    assert shuffled < chance + 10
    assert permutenet < 50


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_augshift_makes_the_classifier_consistent(tmp_path):
    printed = run("augshift_on_your_classifier.ipynb", tmp_path)
    for name in ("consistency", "accuracy", "worst_case"):
        before, after = map(
            float, re.search(rf"^{name} +([\d.]+) +([\d.]+)", printed, re.M).groups()
        )
        assert after > before + 40, name
