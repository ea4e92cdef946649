import io

import numpy as np
import pytest
from rich.console import Console

from keras_gappos.data import segmentation_info
from keras_gappos.experiments.attack.figure import draw, outlines
from keras_gappos.experiments.attack.report import make_table, write_report
from tests.experiments.engine.figure_checks import check_figure

INFO = segmentation_info("shapes")
REGIONS = ("whole", "left", "right")
COUNTS = (0, 16, 64)
# mIoU of (whole, left, right) at each count.
MIOU = {
    "overall": [(80, 80, 80), (70, 70, 70), (20, 20, 20)],
    "left": [(80, 80, 80), (72, 66, 78), (50, 20, 80.01)],
    "right": [(80, 80, 80), (72, 79, 65), (50, 75, 25)],
    "random": [(80, 80, 80), (79, 79, 79), (70, 70, 70)],
    "most_active": [(80, 80, 80), (76, 76, 76), (60, 60, 60)],
}


def sweep(flip=False, miou=MIOU, std=1.5):
    rows = []
    for ranking, values in miou.items():
        for count, at_count in zip(COUNTS, values):
            for region, value in zip(REGIONS, at_count):
                row = {"flip": flip, "ranking": ranking, "count": count, "region": region}
                row |= {"miou": float(value), "iou": [90.0, None] + [float(value)] * 5}
                if ranking == "random":
                    row |= {"miou_draws": [value - 1.5, value + 1.5], "miou_std": std}
                rows.append(row)
    return rows


def network(folder, flip=False, **more):
    masks = np.zeros((1, 8, 12), "uint8")
    masks[:, 2:5, 2:5], masks[:, 7] = 3, INFO.ignore_class
    path = f"predictions/{flip}.npz"
    (folder / "predictions").mkdir(exist_ok=True)
    names = ("truth", "before", "overall", "left", "right")
    np.savez(folder / path, index=[0], **{name: masks for name in names})
    return {
        "flip": flip,
        "ranking": "none",
        "count": 0,
        "region": "whole",
        "miou": 80.0,
        "iou": [90.0, None, *[80.0] * 5],
        "effect_count": 64,
        "channels": 128,
        "epochs": 40,
        "train_images": 400,
        "rank_images": 300,
        "test_images": 100,
        "image_shape": [8, 12, 3],
        "class_names": list(INFO.class_names),
        "predictions": path,
        **more,
    }


def content(rows, **settings):
    fixed = {"dataset": "shapes", "depth": 18, "width": 16, "output_stride": 8, "weights": None}
    fixed |= {"method": "region", "divide_by_activity": False, "latent": "features", "draws": 5}
    return {
        "command": "keras-gappos run attack --width 16",
        "settings": fixed | settings,
        "environment": {"backend": "jax 1.0", "device": "CPU, 2 cores"},
        "rows": rows,
    }


IMAGES = np.full((1, 8, 12, 3), 99, "uint8")


def tables(text):
    """The cells of each Markdown table."""
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    return [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        for block in blocks
    ]


def report(folder, rows, **settings):
    write_report(folder, content(rows, **settings), IMAGES)
    return (folder / "table.md").read_text()


def test_the_tables_have_every_count_half_and_class(tmp_path):
    text = report(tmp_path, [*sweep(), network(tmp_path)])
    _, miou, classes = tables(text)
    assert miou[0] == ["channels off"] + [
        f"{name} channels" for name in ("overall", "left", "right", "random", "most active")
    ]
    assert [line[0] for line in miou[2:]] == ["0", "16", "64"]
    assert miou[3][2:4] == ["72.0 / 66.0 / 78.0", "72.0 / 79.0 / 65.0"]
    assert miou[3][4] == "79.0±1.5 / 79.0±1.5 / 79.0±1.5"
    assert miou[2][4] == "80.0 / 80.0 / 80.0"  # nothing is drawn at 0
    assert classes[0] == ["class", "all on"] + [
        f"{name} channels off" for name in ("overall", "random", "most active")
    ]
    assert classes[2] == ["ground", "90.0", "90.0", "90.0", "90.0"]
    assert classes[3] == ["square", "80.0", "20.0", "70.0", "60.0"]  # no circle in the truth
    assert "with jax 1.0 on CPU, 2 cores by\n\n```sh\nkeras-gappos run attack --width 16\n" in text
    assert "12x8 pixels; 40 epochs on 400 images. The 128 channels of the backbone's" in text


def test_both_networks_are_reported_the_one_without_flips_first(tmp_path):
    rows = [*sweep(True), network(tmp_path, True), *sweep(), network(tmp_path, epochs=0)]
    text = report(tmp_path, rows, divide_by_activity=True)
    assert text.index("## Trained without flips") < text.index("## Trained with flips")
    assert len(tables(text)) == 6
    assert "; given weights. " in text
    assert "left and right by images with one half kept, divided by mean activity)" in text
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def effects(folder, miou, std=1.5):
    text = report(folder, [*sweep(miou=miou, std=std), network(folder)])
    return tables(text)[0][2:]


def test_the_first_table_has_what_it_costs_where_the_effects_are_largest(tmp_path):
    wide = MIOU | {"right": [(80,) * 3, (50, 79, 20), (50, 75, 25)]}
    assert effects(tmp_path, wide) == [
        ["overall", "64", "60.0", "random channels", "10.0±1.5"],
        ["overall", "64", "60.0", "most active channels", "20.0"],
        ["left", "64", "60.0", "right half", "0.0"],
        ["right", "16", "60.0", "left half", "1.0"],
    ]


def test_effects_that_are_none_are_reported_as_they_are(tmp_path):
    weak = {name: [(80,) * 3, (79,) * 3, (75,) * 3] for name in MIOU}
    weak["random"] = [(80,) * 3, (77,) * 3, (70,) * 3]
    overall, *_ = effects(tmp_path, weak, std=None)
    assert overall == ["overall", "16", "1.0", "random channels", "3.0"]


def test_the_table_fits_a_terminal_of_80_columns(tmp_path):
    full = {name: [(100, 100, 100)] * 3 for name in MIOU}
    rows = [*sweep(miou=full, std=10.5), network(tmp_path), *sweep(True), network(tmp_path, True)]
    text = io.StringIO()
    Console(file=text, width=80).print(make_table(rows))
    assert "…" not in text.getvalue()
    assert text.getvalue().count("100.0±10.5") == 2
    assert "Trained with flips: mIoU %, whole image" in text.getvalue()


def test_before_a_network_is_finished_there_is_a_table_without_rows(tmp_path):
    text = report(tmp_path, [])
    assert text.startswith("# Position channels of a segmentation network on shapes")
    assert tables(text) == []
    assert not (tmp_path / "figure.png").exists()


@pytest.mark.parametrize("shown", [True, False])
def test_the_figure_has_a_curve_for_each_ranking_and_a_row_for_each_image(tmp_path, shown):
    row = network(tmp_path)
    with np.load(tmp_path / row["predictions"]) as maps:
        better = MIOU | {"most_active": [(80, 80, 80), (76, 76, 95), (60, 60, 60)]}
        parts = [(row, sweep(miou=better), dict(maps))]
    figure = draw(parts, IMAGES if shown else None, content([])["settings"])
    texts = set(check_figure(figure))
    assert {"range of 2 random draws", "64 channels off, as in the pictures below"} < texts
    # What the pictures show, and no other class.
    assert texts & {*INFO.class_names, "ignored"} == {"ground", "left triangle", "ignored"}
    curves, gallery = figure.subfigs
    assert [ax.get_title() for ax in curves.axes] == ["whole image", "left half", "right half"]
    # The halves' mIoU may be higher than the whole images': nothing is cut off.
    assert curves.axes[2].get_ylim()[0] == 0
    assert curves.axes[2].get_ylim()[1] > 95
    for ax in curves.axes:
        lines = {line.get_label(): line for line in ax.lines}
        assert lines["overall channels"].get_xdata().tolist() == list(COUNTS)
        assert len(ax.collections) == 1  # the draws' spread
    left = {line.get_label(): line for line in curves.axes[1].lines}["left channels"]
    assert left.get_ydata().tolist() == [80, 66, 20]
    image, *maps = [ax.images[0].get_array() for ax in gallery.axes]
    assert len(maps) == 5
    np.testing.assert_array_equal(image, IMAGES[0] if shown else outlines(maps_of(tmp_path, row)))
    for painted in maps:
        assert painted[3, 3].tolist() == list(INFO.colors[3])
        assert not painted[7].any()  # ignored in the truth


def test_figures_of_the_backbone_and_of_the_head_have_titles_that_differ(tmp_path):
    names = [f"a class with a long name {index}" for index in range(19)]
    row = network(tmp_path, class_names=names)
    maps = dict.fromkeys(("truth", "before", "overall", "left", "right"))
    maps = {name: np.arange(96).reshape(1, 8, 12) % 20 for name in maps} | {"index": [0]}
    titles = set()
    for latent in ("features", "head_relu"):
        settings = content([], dataset="my_set", latent=latent)["settings"]
        figure = draw([(row, sweep(), maps)], None, settings)
        assert {*names, "ignored"} < set(check_figure(figure))
        titles.add(figure.get_suptitle())
    assert len(titles) == 2


def maps_of(folder, row):
    with np.load(folder / row["predictions"]) as maps:
        return maps["truth"][0]
