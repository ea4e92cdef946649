"""The location experiment's table and figure, made from its rows."""

import io

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from keras_gappos.files import replacing

# Islam et al., ICCV 2021, table 1: ResNet-18, CIFAR-10; (network, task, grid size) -> percent.
PAPER = {
    ("gapnet", "location", 3): 100.0,
    ("gapnet", "location", 7): 100.0,
    ("gapnet", "class", 3): 82.6,
    ("gapnet", "class", 7): 82.1,
    ("permutenet", "location", 3): 78.8,
    ("permutenet", "location", 7): 21.4,
    ("permutenet", "class", 3): 73.6,
    ("permutenet", "class", 7): 69.9,
}
_NORMALIZED = ", images normalized per channel: the canvas around them is the mean color"
NAMES = {"gapnet": "GAPNet", "permutenet": "PermuteNet"}
_COLORS = {"gapnet": "tab:blue", "permutenet": "tab:orange"}


def make_table(rows, style=box.SIMPLE):
    """The rows as a `rich.table.Table`: our figures, the paper's and chance beside each other."""
    table = Table(box=style, collapse_padding=True, pad_edge=False)
    table.add_column("network", no_wrap=True)
    table.add_column("task", no_wrap=True)
    for column in ("grid", "accuracy %", "paper %", "chance %", "epochs", "seconds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        paper = PAPER.get((row["network"], row["task"], row["grid_size"]))
        table.add_row(
            NAMES[row["network"]],
            row["task"],
            f"{row['grid_size']}x{row['grid_size']}",
            f"{row['accuracy']:.1f}",
            "" if paper is None else f"{paper:.1f}",
            f"{row['chance']:.1f}",
            str(row["epochs"]),
            f"{row['seconds']:.0f}",
        )
    return table


def write_report(folder, content, test_images, show_images=True):
    """Writes `table.md` and `figure.png` into `folder`.

    Args:
        folder: a `pathlib.Path`.
        content: what is in `results.json`.
        test_images: float `(n, height, width, channels)`, which the rows' examples index.
        show_images: whether the canvases show the images, or a grey square in their place.
    """
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(_markdown(content))
    if any(row["task"] == "location" for row in content["rows"]):
        with replacing(folder / "figure.png") as temporary:
            _draw(content, test_images, show_images).savefig(temporary, dpi=150)


def _markdown(content):
    text = io.StringIO()
    Console(file=text, width=200).print(make_table(content["rows"], box.MARKDOWN))
    table = "\n".join(line.strip() for line in text.getvalue().splitlines() if line.strip())
    settings, environment = content["settings"], content["environment"]
    row = content["rows"][0]
    return (
        f"# Location and class accuracy on {settings['dataset']}\n\n{table}\n\n"
        f"ResNet-{settings['depth']}, width {settings['width']}; {row['train_images']:,} training "
        f"images, {row['test_images']:,} test images. Accuracy is the mean over test passes with "
        "fresh random cells"
        f"{_NORMALIZED if settings['normalize'] else ''}. The paper's figures are "
        "of CIFAR-10, width 64, 20 epochs on all "
        f"50,000 training images.\n\nMade by `{content['command']}` with "
        f"{environment['backend']} on {environment['device']}.\n"
    )


def _draw(content, test_images, show_images):
    """The figure: accuracy against grid size; below, canvases with the named and the true cell."""
    from matplotlib.figure import Figure

    rows = [row for row in content["rows"] if row["task"] == "location"]
    shown = min(row["grid_size"] for row in rows)
    galleries = [row for row in rows if row["grid_size"] == shown]
    figure = Figure(figsize=(11, 1.0 + 1.9 * max(2, len(galleries))), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.35))
    _draw_curves(left.subplots(), rows, content["settings"]["dataset"])
    image = "the image" if show_images else "the image (here a grey square)"
    right.suptitle(f"Where is {image}? Green frame: true cell. Cross: named cell.", fontsize=11)
    all_axes = right.subplots(len(galleries), len(galleries[0]["examples"]), squeeze=False)
    for row, axes in zip(galleries, all_axes):
        for example, ax in zip(row["examples"], axes):
            _draw_canvas(ax, example, test_images, shown, show_images)
        axes[0].set_ylabel(f"{NAMES[row['network']]}\n{row['accuracy']:.1f} % right", fontsize=11)
    return figure


def _draw_curves(ax, rows, dataset):
    grids = sorted({row["grid_size"] for row in rows})
    for network in dict.fromkeys(row["network"] for row in rows):
        points = sorted((r["grid_size"], r["accuracy"]) for r in rows if r["network"] == network)
        ax.plot(*zip(*points), "o-", color=_COLORS[network], lw=2, label=NAMES[network])
        for grid_size, accuracy in points:
            ax.annotate(
                f"{accuracy:.1f}",
                (grid_size, accuracy),
                (0, 8),
                textcoords="offset points",
                ha="center",
                color=_COLORS[network],
            )
    chance = [100 / grid_size**2 for grid_size in grids]
    ax.plot(grids, chance, "--", color="grey", marker=".", label="chance")
    ax.set(
        xlabel="grid size (cells along each side)",
        ylabel="location accuracy (% of test images)",
        title=f"Naming the cell of an image ({dataset})",
        xticks=grids,
        ylim=(0, 112),
    )
    ax.set_xticklabels([f"{grid_size}x{grid_size}" for grid_size in grids])
    ax.margins(x=0.12)
    ax.grid(alpha=0.3)
    ax.legend(loc="center right")


def _draw_canvas(ax, example, test_images, grid_size, show_image):
    from matplotlib.patches import Rectangle

    image = test_images[example["image"]]
    image = (image - image.min()) / max(np.ptp(image), 1e-6)
    if not show_image:
        image = np.full_like(image, 0.6)
    height, width, channels = image.shape
    row, column = divmod(example["cell"], grid_size)
    canvas = np.zeros((grid_size * height, grid_size * width, channels))
    canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    ax.imshow(canvas.repeat(3, -1) if channels == 1 else canvas)
    for line in range(1, grid_size):
        ax.axhline(line * height - 0.5, color="white", lw=0.5, alpha=0.4)
        ax.axvline(line * width - 0.5, color="white", lw=0.5, alpha=0.4)
    corner = (column * width - 0.5, row * height - 0.5)
    ax.add_patch(Rectangle(corner, width, height, fill=False, color="limegreen", lw=3))
    right = example["predicted"] == example["cell"]
    row, column = divmod(example["predicted"], grid_size)
    ax.plot(
        (column + 0.5) * width - 0.5,
        (row + 0.5) * height - 0.5,
        "x",
        color="limegreen" if right else "red",
        ms=16,
        mew=4,
    )
    ax.set_title("right" if right else "wrong", color="green" if right else "red", fontsize=10)
    ax.set(xticks=[], yticks=[])
