import io

import numpy as np
import pytest
from rich.console import Console

from keras_gappos.experiments.invariance.figure import _spread, draw
from keras_gappos.experiments.invariance.report import PAPER, make_table, write_report
from tests.experiments.engine.figure_checks import check_figure


def row(method, top1=90.0, exact=80.0, split="test", **more):
    return {
        "method": method,
        "split": split,
        "dataset": "cifar10",
        "depth": 18,
        "width": 32,
        "top1": top1,
        "consistency_random": 81.5,
        "consistency_random_stderr": 0.12,
        "consistency_exact": exact,
        "consistency_exact_stderr": 0.2,
        "worst_case": 70.0,
        "accuracy_map": np.linspace(top1 - 9, top1, 9).reshape(3, 3).tolist(),
        "epochs": 20,
        "train_images": 50000,
        "test_images": 10000,
        "consistency_images": 10000,
        **more,
    }


NAMES = {
    "resnet18": "ResNet-18",
    "blurpool": "BlurPool",
    "augshift": "AugShift",
    "augshift_blurpool": "AugShift + BlurPool",
    "augshift_half": "AugShift, half",
    "resnet18_unshifted": "ResNet-18, no shift",
    "aps": "APS",
    "augshift_aps": "AugShift + APS",
}
METHODS = tuple(NAMES)
TRIALS = [
    row("augshift", split="validation", consistency_weight=weight, test_images=5000)
    for weight in (10.0, 1.0)
]


def content(rows, **settings):
    settings = {"dataset": "cifar10", "max_shift": 4, "normalize": True, **settings}
    return {
        "command": "keras-gappos run invariance --width 32",
        "settings": {"depth": 18, "width": 32, "pairs": 5, "weight_tolerance": 1.0, **settings},
        "environment": {"backend": "jax 1.0", "device": "CPU, 2 cores"},
        "rows": rows,
    }


def cells(text):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]


def test_the_table_has_the_methods_and_the_papers_figures_beside_ours(tmp_path):
    rows = [*TRIALS, row("augshift", 92.345, 94.0, consistency_weight=10.0), row("resnet18")]
    write_report(tmp_path, content(rows))
    text = (tmp_path / "table.md").read_text()
    table = cells(text)
    assert table[0] == (
        [
            "network",
            "top-1 %",
            "random consistency %",
            "exact consistency %",
            "worst-case accuracy %",
        ]
        + ["paper top-1 %", "paper consistency %"]
    )
    ours = ["90.00", "81.50±0.12", "80.00±0.20", "70.00"]
    assert table[2] == ["ResNet-18", *ours, "93.1", "90.8"]
    assert table[3][:2] + table[3][5:] == ["AugShift", "92.34", "92.1", "94.8"]
    assert "```sh\nkeras-gappos run invariance --width 32\n```" in text


def test_the_images_seen_in_training_are_in_the_table_where_they_are_recorded(tmp_path):
    rows = [row("resnet18", images_seen=1_200_000), row("augshift", images_seen=2_400_000)]
    write_report(tmp_path, content(rows))
    text = (tmp_path / "table.md").read_text()
    header, _, *lines = cells(text)
    column = header.index("images seen")
    assert [line[column] for line in lines[:2]] == ["1.2 M", "2.4 M"]
    assert "Images seen: " in text


def test_consistency_under_circular_shifts_stands_beside_the_other(tmp_path):
    circular = {"consistency_circular": 100.0, "consistency_circular_stderr": 0.0}
    rows = [row("aps"), row("lps_circular", **circular), row("aps_circular", **circular)]
    write_report(tmp_path, content(rows))
    text = (tmp_path / "table.md").read_text()
    header, _, *lines = cells(text)
    names = ("network", "random consistency %", "circular consistency %")
    table = [[line[header.index(name)] for name in names] for line in lines[:3]]
    assert table == [
        ["APS", "81.50±0.12", ""],
        ["APS, circular", "81.50±0.12", "100.00±0.00"],
        ["LPS, circular", "81.50±0.12", "100.00±0.00"],
    ]
    assert "Circular: the random pairs again" in text
    shown = io.StringIO()
    Console(file=shown, width=80).print(make_table(rows))
    assert "…" not in shown.getvalue()
    assert sum("100.00±0.00" in line for line in shown.getvalue().splitlines()) == 2
    write_report(tmp_path, content([row("aps")]))
    assert "circular" not in (tmp_path / "table.md").read_text().lower()


def test_a_network_that_predicts_one_class_is_marked(tmp_path):
    rows = [row("resnet18", num_predicted_classes=10), row("augshift", num_predicted_classes=1)]
    trial = row("augshift", split="validation", consistency_weight=3.0, num_predicted_classes=1)
    write_report(tmp_path, content([trial, *rows]))
    table = cells((tmp_path / "table.md").read_text())
    assert [line[0] for line in table[2:4]] == ["ResNet-18", "AugShift (one class)"]
    assert table[-1][0] == "3 (one class)"


def test_the_weights_on_trial_have_a_table_that_says_how_one_was_chosen(tmp_path):
    rows = [*TRIALS, row("augshift", consistency_weight=10.0)]
    write_report(tmp_path, content(rows))
    text = (tmp_path / "table.md").read_text()
    assert [line[0] for line in cells(text)[-2:]] == ["1", "10"]
    assert "on 50,000 training images, scored on 5,000 others. Chosen: the highest exact" in text
    assert "with a top-1 at most 1 below the best." in text
    assert ", consistency weight 10." in text
    write_report(tmp_path, content(rows[2:]))
    text = (tmp_path / "table.md").read_text()
    assert ", consistency weight 10." in text
    assert "## The consistency weight" not in text
    write_report(tmp_path, content([row("aps")]))
    assert "weight" not in (tmp_path / "table.md").read_text()


def test_trainings_that_do_not_compare_have_no_figures_of_the_paper(tmp_path):
    write_report(tmp_path, content([row("augshift", dataset="digits")], dataset="digits"))
    text = (tmp_path / "table.md").read_text()
    assert cells(text)[0][-1] == "worst-case accuracy %"
    assert "paper" not in text.lower()


def test_the_shifts_of_training_and_of_the_scores_are_told_apart(tmp_path):
    write_report(tmp_path, content([row("augshift_aps")]))
    text = (tmp_path / "table.md").read_text()
    assert "Training shifts: up to 4 pixels, fill mode constant." in text
    write_report(tmp_path, content([row("augshift_aps")], train_shift=6, fill_mode="reflect"))
    text = (tmp_path / "table.md").read_text()
    assert "two shifts of an image, up to 4 pixels on each axis" in text
    assert "Training shifts: up to 6 pixels, fill mode reflect." in text


def test_a_single_image_has_no_standard_error():
    text = io.StringIO()
    Console(file=text, width=80).print(make_table([row("aps", consistency_exact_stderr=None)]))
    assert " 80.00 " in text.getvalue()


def test_the_table_fits_a_terminal_of_80_columns():
    text = io.StringIO()
    rows = [row(method, 100.0, 100.0) for method in METHODS]
    Console(file=text, width=80).print(make_table([*rows, *TRIALS]))
    assert "…" not in text.getvalue()
    for name in NAMES.values():
        assert (
            sum(line.strip().startswith(f"{name}  ") for line in text.getvalue().splitlines()) == 1
        )


def test_the_papers_tables_are_whole():
    assert PAPER["cifar10"]["augshift"] == (92.1, 94.8)
    assert PAPER["cifar100"]["resnet18"] == (72.6, 70.1)
    assert [len(table) for table in PAPER.values()] == [3, 3]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_the_figure_has_a_labelled_point_and_a_map_for_each_method(count):
    rows = [row(method, 90 + i, 80 + i) for i, method in enumerate(METHODS[:count])]
    figure = draw(rows, content([])["settings"])
    check_figure(figure)
    points, maps = figure.subfigs
    names = list(NAMES.values())[:count]
    assert {text.get_text() for text in points.axes[0].texts} == set(names)
    images = [ax.images[0] for ax in maps.axes if ax.images]
    assert len(images) == count
    assert {image.get_clim() for image in images} == {(81.0, 89.0 + count)}


def test_no_figure_before_there_are_two_methods_to_compare(tmp_path):
    for rows in (TRIALS, [*TRIALS, row("augshift", consistency_weight=1.0)]):
        write_report(tmp_path, content(rows))
        assert (tmp_path / "table.md").exists()
        assert not (tmp_path / "figure.png").exists()
    write_report(tmp_path, content([row("augshift"), row("resnet18")]))
    assert (tmp_path / "figure.png").exists()


def test_the_figure_says_what_was_trained_and_shows_circular_shifts_and_the_papers_scores():
    circular = {"consistency_circular": 100.0, "consistency_circular_stderr": 0.0}
    rows = [row("resnet18", **circular), row("augshift", epochs=10, consistency_exact_stderr=None)]
    figure = draw(rows, content([])["settings"], PAPER["cifar10"])
    texts = check_figure(figure)
    assert texts == ["this run", "this run, circular shifts", "the paper"]
    assert figure.get_suptitle().endswith(
        "ResNet-18, width 32, 10 to 20 epochs on 50,000 training images of cifar10"
    )
    points = {(x, y) for ax in figure.get_axes() for line in ax.lines for x, y in line.get_xydata()}
    assert {(90.0, 100.0), PAPER["cifar10"]["resnet18"], PAPER["cifar10"]["augshift"]} <= points


def test_labels_are_moved_apart_around_where_they_belong():
    assert _spread([0.0, 5.0], 1.0) == [0.0, 5.0]
    assert _spread([2.0, 2.0], 1.0) == [1.5, 2.5]
    heights = _spread([0.0, 0.1, 0.2, 3.0], 1.0)
    assert heights == pytest.approx([-0.9, 0.1, 1.1, 3.0])
    assert np.diff(_spread([0.0, 0.9, 1.0, 1.1], 1.0)).min() >= 1 - 1e-9
