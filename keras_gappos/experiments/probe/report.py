"""The tables of position channels and class channels, made from rows."""

import io

from rich import box
from rich.console import Console, Group
from rich.table import Table

from keras_gappos.analysis import ChannelRanking
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.experiments.probe.figure import NAMES, STYLES, draw
from keras_gappos.experiments.probe.scores import costs, largest_effect
from keras_gappos.files import replacing

TASKS = ("location", "class")
_HEADINGS = {
    "position": "position,\nby flips",
    "cell": "position,\nby cells",
    "class": "class",
    "random": "random",
    "most_active": "most\nactive",
}


def make_table(rows):
    """The rows for a terminal, a table for each network: both accuracies, by channels off.

    Args:
        rows: the experiment's rows.

    Returns:
        What a `rich.console.Console` prints, within 80 columns.
    """
    return Group(*(_narrow_table(network, _of(rows, network)) for network in _networks(rows)))


def write_report(folder, content):
    """Writes `table.md` and, once a network is finished, `figure.png` into `folder`.

    Args:
        folder: a `pathlib.Path`, in which the rows' rankings are.
        content: what is in `results.json`.
    """
    rows, settings = content["rows"], content["settings"]
    networks = _networks(rows)
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(_markdown(content, networks))
    if networks:
        parts = []
        for network in networks:
            paths = network["rankings"].items()
            rankings = {name: ChannelRanking.from_json(folder / path) for name, path in paths}
            parts.append((network, _of(rows, network), rankings))
        figure = draw(parts, settings["dataset"], settings["grid_size"])
        with replacing(folder / "figure.png") as temporary:
            figure.savefig(temporary, dpi=150)


def _networks(rows):
    """The rows of the networks with all channels on."""
    return [row for row in rows if row["ranking"] == "none"]


def _of(rows, network):
    """The rows of a network's sweep."""
    name = network["network"]
    return [row for row in rows if row["network"] == name and row["ranking"] != "none"]


def _table(columns, style):
    table = Table(box=style, collapse_padding=True, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cell(rows, count, ranking):
    found = [find_row(rows, {"task": t, "count": count, "ranking": ranking}) for t in TASKS]
    return " / ".join(f"{row['accuracy']:.1f}" for row in found)


def _narrow_table(network, rows):
    table = _table(("off", *_HEADINGS.values()), box.SIMPLE)
    table.title = f"{NAMES[network['network']]}\naccuracy %, location / class"
    for count in sorted({row["count"] for row in rows}):
        table.add_row(str(count), *(_cell(rows, count, ranking) for ranking in _HEADINGS))
    return table


def _wide_table(rows):
    names = [name.replace(", by", " by") for name, *_ in STYLES.values()]
    table = _table(("channels off", *names), box.MARKDOWN)
    for count in sorted({row["count"] for row in rows}):
        cells = {ranking: _cell(rows, count, ranking) for ranking in STYLES}
        spreads = [
            find_row(rows, {"task": task, "count": count, "ranking": "random"})["accuracy_std"]
            for task in TASKS
        ]
        if count and None not in spreads:
            values = cells["random"].split(" / ")
            cells["random"] = " / ".join(f"{v}±{std:.1f}" for v, std in zip(values, spreads))
        table.add_row(str(count), *cells.values())
    return table


def effect_sentence(rows, ranking, channels):
    """What a ranking's channels cost both tasks where they cost their own most beyond random ones.

    Args:
        rows: rows of one network's sweep.
        ranking: "position", "cell" or "class".
        channels: number of channels of the feature map.
    """
    task = "class" if ranking == "class" else "location"
    count, beyond = largest_effect(rows, ranking, task, channels)
    found = {task: {r: cost[count] for r, cost in costs(rows, task).items()} for task in TASKS}
    names = {key: name.replace(", by", " by") for key, (name, *_) in STYLES.items()}
    other = "cell" if ranking == "class" else "class"
    values = [
        f"{found['location'][r]:.1f} and {found['class'][r]:.1f}"
        for r in (ranking, other, "random", "most_active")
    ]
    never = "" if beyond > 0 else f" At no N do they cost the {task} more than random ones do."
    return (
        f"- The {count} best {names[ranking]} cost {values[0]} points of location and class "
        f"accuracy; {count} {names[other]} {values[1]}, random ones {values[2]}, the most active "
        f"ones {values[3]}.{never}"
    )


def _markdown(content, networks):
    settings, environment = content["settings"], content["environment"]
    parts = [f"# Position channels and class channels on {settings['dataset']}"]
    for network in networks:
        rows, correlations = _of(content["rows"], network), network["rank_correlations"]
        chances = {task: find_row(rows, {"task": task})["chance"] for task in TASKS}
        parts += [
            f"## {NAMES[network['network']]}",
            f"With all channels on, {network['location_accuracy']:.1f} % of the cells (chance "
            f"{chances['location']:.1f}) and {network['accuracy']:.1f} % of the classes (chance "
            f"{chances['class']:.1f}) are named right. Each ranking where it costs its own task "
            "most beyond random channels:",
            "\n".join(
                effect_sentence(rows, ranking, network["channels"])
                for ranking in ("position", "cell", "class")
            ),
            "Spearman's correlation between the ranks: position by flips and by cells "
            f"{correlations['position/cell']:.2f}, position by flips and class "
            f"{correlations['position/class']:.2f}, position by cells and class "
            f"{correlations['cell/class']:.2f}.",
            "Accuracy in percent, location / class, by what the channels that are off were chosen "
            "for:",
            _plain(_wide_table(rows)),
        ]
        if network["network"] == "permutenet":
            parts.append(_PERMUTENET)
    if networks:
        parts.append(_explanation(networks[0], settings))
    parts.append(
        f"Made by `{content['command']}` with {environment['backend']} on {environment['device']}."
    )
    return "\n\n".join(parts) + "\n"


_PERMUTENET = (
    "PermuteNet shuffles the channels anew at every call, between the pooling and the dense layer. "
    "Which channel has which value is what tells the cell, so that no head behind the shuffle can "
    "do much better than chance, and there is next to nothing that position channels could cost; "
    "and its answers, these figures too, differ from call to call."
)


def _explanation(network, settings):
    height, width = network["map_size"]
    k = settings["grid_size"]
    trained = (
        "The backbone's weights were given"
        if settings["weights"]
        else f"The backbone was trained for the class, {network['epochs']} epochs on "
        f"{network['train_images']:,} images"
    )
    border = (
        f" On a map of {height}x{width}, GAPNet's last convolution, 3x3 and padded with zeros, "
        "meets the border everywhere: it can tell the place from where on the map a channel is "
        "active, whichever channel. A dense layer sees the pooled channels and nothing else."
        if "gapnet" in settings["networks"] and min(height, width) <= 3
        else ""
    )
    return (
        f"ResNet-{settings['depth']}, width {settings['width']}, {network['channels']} channels in "
        f"a feature map of {height}x{width}; images on random cells of a {k}x{k} grid. {trained}; "
        "then it was frozen, and a second head of the same kind was trained to name the cell, "
        f"{network['head_epochs']} epochs. Ranked on {network['rank_images']:,} training images, "
        f"scored on {network['test_images']:,} others, each on {settings['test_passes']} random "
        "cells. Switched off means zero in the feature map, for both heads. Position by flips: "
        "mean |z - z of the mirrored canvas|, z the globally pooled map; it sees a channel's size "
        "and the mirrored image, too. Position by cells, and class channels: the share of z's "
        "variance that the cell, or the class, explains (eta squared, in the order of an analysis "
        f"of variance's F). Random: the mean of {settings['draws']} draws, after ± their standard "
        f"deviation.{border}"
    )


def _plain(table):
    text = io.StringIO()
    Console(file=text, width=250).print(table)
    return "\n".join(line.strip() for line in text.getvalue().splitlines() if line.strip())
