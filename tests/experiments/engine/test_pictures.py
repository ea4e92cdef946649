import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from keras_gappos.analysis.plots import COLORS
from keras_gappos.data import segmentation_info
from keras_gappos.experiments.engine.pictures import SMALLEST, add_legend, readable, training_line
from tests.experiments.engine.figure_checks import check_figure

# What the color-blind see of linear RGB: Machado, Oliveira and Fernandes, IEEE TVCG 2009.
SIGHT = {
    "all": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]


def lab(color, sight):
    """A color (red, green, blue), in [0, 1], in the space CIELAB, as it is seen."""
    color = np.asarray(color)
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(sight @ linear, 0, 1) / [0.9505, 1, 1.0888]
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
@pytest.mark.parametrize(("palette", "least"), [("lines", 10), ("shapes", 20), ("camvid", 20)])
def test_the_color_blind_can_tell_the_colors_apart(palette, least, sight):
    """Lines have markers besides, areas only the color; a difference of 2 can just be seen."""
    if palette == "lines":
        colors = [to_rgb(color) for color in COLORS.values()]
    else:
        info = segmentation_info(palette)
        colors = np.array([*info.colors, (0, 0, 0)]) / 255  # black: ignored
    seen = [lab(color, np.array(sight)) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > least


@pytest.mark.parametrize(
    ("epochs", "text"), [((3, 3), "3 epochs on "), ((3, 1), "1 to 3 epochs on "), ((0,), "")]
)
def test_a_line_says_what_was_trained(epochs, text):
    rows = [{"epochs": n, "train_images": 5000, "dataset": "~/data/camvid/1.0.0"} for n in epochs]
    line = training_line({"depth": 18, "width": 32, "train_images": None}, rows)
    assert line == f"ResNet-18, width 32, {text}5,000 training images of camvid"


@pytest.mark.parametrize("length", [1, 9, 40])
def test_a_legend_has_as_many_columns_as_fit(length):
    @readable
    def draw():
        figure = Figure(figsize=(8, 6), layout="constrained")
        for ax in figure.subplots(1, 2):
            for index in range(10):
                ax.plot([0, 1], [0, index], label=f"{'n' * length} {index}")
            ax.set(xlabel="x", ylabel="y")
        add_legend(figure)
        return figure

    figure = draw()
    texts = check_figure(figure)
    assert len(texts) == 10  # each once
    assert figure.axes[0].get_xticklabels()[0].get_fontsize() == SMALLEST
    columns = {round(text.get_window_extent().x0) for text in figure.legends[0].get_texts()}
    assert len(columns) == {1: 8, 9: 4, 40: 1}[length]
