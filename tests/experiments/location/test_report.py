import io

import numpy as np
import pytest
from rich.console import Console

from keras_gappos.experiments.location.figure import NAMES, draw
from keras_gappos.experiments.location.report import PAPER, make_table, write_report
from tests.experiments.engine.figure_checks import check_figure

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1))


def row(network, task, grid_size, accuracy, **more):
    example = {"image": 1, "cell": 2, "predicted": 0}
    return {
        "network": network,
        "task": task,
        "grid_size": grid_size,
        "padding": "zeros",
        "accuracy": accuracy,
        "chance": 100 / grid_size**2,
        "epochs": 20,
        "seconds": 12.3,
        "train_images": 50000,
        "test_images": 10000,
        "image_shape": [8, 8, 1],
        "examples": [example, {**example, "predicted": 2}] if task == "location" else None,
        **more,
    }


SETTINGS = {"dataset": "cifar10", "depth": 18, "width": 32, "normalize": True}


def content(rows):
    return {
        "command": "keras-gappos run location --width 32",
        "settings": SETTINGS,
        "environment": {"backend": "jax 1.0", "device": "CPU, 2 cores"},
        "rows": rows,
    }


def test_the_table_has_the_papers_figures_and_chance_beside_ours(tmp_path):
    rows = [row("gapnet", "location", 3, 99.96), row("permutenet", "class", 5, 33.3)]
    write_report(tmp_path, content(rows), IMAGES)
    text = (tmp_path / "table.md").read_text()
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line
    ]
    assert cells[0] == (
        ["network", "task", "grid", "accuracy %", "paper %", "chance %", "epochs", "seconds"]
    )
    assert cells[2] == ["GAPNet", "location", "3x3", "100.0", "100.0", "11.1", "20", "12"]
    assert cells[3] == ["PermuteNet", "class", "5x5", "33.3", "", "4.0", "20", "12"]
    assert "```sh\nkeras-gappos run location --width 32\n```" in text
    assert "10,000 test images, standardized per channel" in text


def test_the_table_fits_a_terminal_of_80_columns():
    text = io.StringIO()
    rows = [row("permutenet", "location", 3, 100.0, dataset="cifar10", width=32)]
    Console(file=text, width=80).print(make_table(rows))
    assert "…" not in text.getvalue()
    assert "PermuteNet" in text.getvalue()
    assert "78.8" in text.getvalue()


def test_trainings_that_do_not_compare_have_no_figures_of_the_paper(tmp_path):
    write_report(tmp_path, content([row("permutenet", "location", 3, 23.4, epochs=4)]), IMAGES)
    assert "paper" not in (tmp_path / "table.md").read_text().lower()


def test_the_papers_table_is_whole():
    assert len(PAPER) == 8
    assert PAPER["permutenet", "location", 7] == 21.4


@pytest.mark.parametrize("show_images", [True, False])
def test_the_figure_is_a_picture_of_the_location_rows(tmp_path, show_images):
    rows = [row(n, "location", k, 50.0) for n in ("gapnet", "permutenet") for k in (3, 7)]
    write_report(tmp_path, content(rows), IMAGES if show_images else None)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_without_images_the_figure_shows_a_square_in_their_place():
    figure = draw([row("gapnet", "location", 3, 50.0)], None, SETTINGS)
    texts = check_figure(figure)
    assert "image" in texts and "predicted, wrong" in texts
    axes = [ax for ax in figure.get_axes() if ax.images]
    assert len(axes) == 2
    canvas = np.asarray(axes[0].images[0].get_array())
    assert set(np.unique(canvas)) == {0.0, 0.6}
    assert (canvas[:8, 16:] == 0.6).all()  # cell 2 of a 3x3 grid


@pytest.mark.parametrize("networks", [("gapnet",), ("gapnet", "permutenet")])
@pytest.mark.parametrize("paddings", [("zeros",), ("zeros", "reflect", "replicate", "circular")])
def test_one_grid_size_has_bars_in_place_of_curves_of_one_point(networks, paddings):
    rows = [row(n, "location", 3, 50.0, padding=p) for p in paddings for n in networks]
    figure = draw(rows, IMAGES, SETTINGS)
    assert set(check_figure(figure)) >= {f"{NAMES[n]}, 3x3 cells" for n in networks} | {"chance"}
    bars = [ax for ax in figure.get_axes() if not ax.images]
    assert [len(ax.patches) for ax in bars] == [len(rows)]


def test_no_figure_without_location_rows(tmp_path):
    write_report(tmp_path, content([row("gapnet", "class", 3, 50.0)]), IMAGES)
    assert not (tmp_path / "figure.png").exists()


def test_several_paddings_are_compared_in_the_table_and_in_a_panel(tmp_path):
    paddings = ("zeros", "circular")
    rows = [row(n, "location", k, 50.0, padding=p) for p in paddings for k in (3, 7) for n in NAMES]
    write_report(tmp_path, content(rows), IMAGES)
    lines = (tmp_path / "table.md").read_text().splitlines()
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert cells[0][:3] == ["padding", "network", "task"]
    papers = {tuple(line[:4]): line[5] for line in cells[2:]}
    assert papers["zeros", "PermuteNet", "location", "3x3"] == "78.8"
    assert papers["circular", "PermuteNet", "location", "3x3"] == ""  # the paper pads with zeros
    figure = draw(rows, IMAGES, SETTINGS)
    check_figure(figure)
    axes = {ax.get_xlabel(): ax for ax in figure.get_axes()}
    panel = axes["padding of the convolutions"]
    assert [label.get_text() for label in panel.get_xticklabels()] == list(paddings)
    assert len(panel.containers) == 4
