"""The attack's tables, made from its rows."""

import io

import numpy as np
from rich import box
from rich.console import Console, Group
from rich.table import Table

from keras_gappos.experiments.attack.figure import draw
from keras_gappos.experiments.attack.scores import (
    REGIONS,
    costs_by_count,
    largest_effect,
    largest_side_effect,
)
from keras_gappos.experiments.engine.results import find_row
from keras_gappos.files import replacing

NAMES = {
    "overall": "overall",
    "left": "left",
    "right": "right",
    "random": "random",
    "most_active": "most active",
}
_SIDES = ("left", "right")
_TEN = 10  # points of mIoU: a cost to speak of


def make_table(rows):
    """The rows for a terminal, a table for each network: mIoU against the channels off.

    Args:
        rows: the experiment's rows.

    Returns:
        What a `rich.console.Console` prints, within 80 columns.
    """
    return Group(*(_narrow_table(network, _of(rows, network)) for network in _networks(rows)))


def write_report(folder, content, info, test_images, show_images=True):
    """Writes `table.md` and, once a network is finished, `figure.png` into `folder`.

    Args:
        folder: a `pathlib.Path`, in which the rows' predictions are.
        content: what is in `results.json`.
        info: the data set's `SegmentationInfo`.
        test_images: uint8 `(n, height, width, channels)`, which the predictions index.
        show_images: whether the figure shows the images, or outlines on grey in their place.
    """
    rows = content["rows"]
    networks = _networks(rows)
    with replacing(folder / "table.md") as temporary:
        temporary.write_text(_markdown(content, networks))
    if networks:
        galleries = {}
        for network in networks:
            with np.load(folder / network["predictions"]) as maps:
                galleries[network["flip"]] = dict(maps)
        parts = [(network, _of(rows, network), galleries[network["flip"]]) for network in networks]
        shown = test_images if show_images else None
        with replacing(folder / "figure.png") as temporary:
            draw(parts, info, shown, content["settings"]["dataset"]).savefig(temporary, dpi=150)


def _networks(rows):
    """The rows of the networks as they were trained, the one without flips first."""
    found = [row for row in rows if row["ranking"] == "none"]
    return sorted(found, key=lambda row: row["flip"])


def _of(rows, network):
    """The rows of a network's sweep."""
    return [row for row in rows if row["flip"] == network["flip"] and row["ranking"] != "none"]


def _title(network):
    return f"Trained {'with' if network['flip'] else 'without'} flips"


def _table(columns, style):
    table = Table(box=style, collapse_padding=True, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _counts(rows):
    return sorted({row["count"] for row in rows})


def _miou(rows, ranking, count, region):
    """The mIoU of a row, or nothing if there is no such row."""
    row = find_row(rows, {"ranking": ranking, "count": count, "region": region})
    return row and row["miou"]


def _cell(rows, ranking, count, regions=REGIONS):
    values = [f"{_miou(rows, ranking, count, region):.1f}" for region in regions]
    row = find_row(rows, {"ranking": ranking, "count": count, "region": "whole"})
    if row.get("miou_std") is not None and count and regions[0] == "whole":
        values[0] += f"±{row['miou_std']:.1f}"
    return " / ".join(values)


def _narrow_table(network, rows):
    columns = ("off", "overall", "random", "most\nactive", "left:\nleft / right half")
    table = _table((*columns, "right:\nleft / right half"), box.SIMPLE)
    table.title = f"{_title(network)}: mIoU %, whole image"
    for count in _counts(rows):
        whole = [_cell(rows, name, count, ("whole",)) for name in ("overall", "random")]
        active = _cell(rows, "most_active", count, ("whole",))
        sides = [_cell(rows, name, count, _SIDES) for name in _SIDES]
        table.add_row(str(count), *whole, active, *sides)
    return table


def _wide_table(rows):
    table = _table(("channels off", *(f"{name} channels" for name in NAMES.values())), box.MARKDOWN)
    for count in _counts(rows):
        table.add_row(str(count), *(_cell(rows, name, count) for name in NAMES))
    return table


def _side_table(rows):
    """What the channels of a side cost the two halves, and how much more their own."""
    columns = [
        f"{side} channels: {what}"
        for side in _SIDES
        for what in ("left half", "right half", "own half more by")
    ]
    table = _table(("channels off", *columns), box.MARKDOWN)
    costs = {half: costs_by_count(rows, half) for half in _SIDES}
    for count in _counts(rows)[1:]:
        cells = []
        for side in _SIDES:
            left, right = (costs[half][side][count] for half in _SIDES)
            own, other = (left, right) if side == "left" else (right, left)
            more = f"{_points(own - other)}{_times(own, other)}"
            cells += [_points(left), _points(right), more]
        table.add_row(str(count), *cells)
    return table


def _class_table(network, rows, count):
    """IoU of each class, before and with `count` channels off."""
    names = [name for name in NAMES if name not in _SIDES]
    table = _table(("class", "all on", *(f"{NAMES[name]} off" for name in names)), box.MARKDOWN)
    table.columns[0].justify = "left"
    ious = [
        find_row(rows, {"ranking": name, "count": count, "region": "whole"})["iou"]
        for name in names
    ]
    for name, *values in zip(network["class_names"], network["iou"], *ious):
        if None not in values:
            table.add_row(name, *(f"{value:.1f}" for value in values))
    return table


def _points(value):
    """Points of mIoU, without a minus before what rounds to zero."""
    return f"{round(value, 1) + 0.0:.1f}"


def _times(own, other):
    """How many times what the other half loses, if that is something, and less."""
    return f" ({own / other:.1f} x)" if own > other >= 0.1 else ""


def _markdown(content, networks):
    rows, settings, environment = content["rows"], content["settings"], content["environment"]
    parts = [f"# Position channels of a segmentation network on {settings['dataset']}"]
    for network in networks:
        found = _of(rows, network)
        parts += [
            f"## {_title(network)}",
            effect_sentence(found),
            "mIoU in percent, whole image / left half / right half, against the number of channels "
            "that are off, by what they were chosen for:",
            _plain(_wide_table(found)),
            "What the channels of one side cost each half, in points of mIoU:",
            _plain(_side_table(found)),
            f"IoU in percent of each class, with {network['effect_count']} channels off:",
            _plain(_class_table(network, found, network["effect_count"])),
        ]
    if networks:
        parts.append(_explanation(networks[0], settings))
    parts.append(
        f"Made by `{content['command']}` with {environment['backend']} on {environment['device']}."
    )
    return "\n\n".join(parts) + "\n"


def effect_sentence(rows):
    """What switching channels off costs where the effect is largest.

    Args:
        rows: rows of one network's sweep.
    """
    count, costs = largest_effect(rows)
    random = find_row(rows, {"ranking": "random", "count": count, "region": "whole"})
    spread = "" if random["miou_std"] is None else f" ± {random['miou_std']:.1f}"
    return (
        f"The effect is largest at N = {count}: the {count} best overall position channels cost "
        f"{_points(costs['overall'])} points of mIoU, {count} random ones "
        f"{_points(costs['random'])}{spread}{_ratio(costs)}, the {count} most active ones "
        f"{_points(costs['most_active'])}. {_side_sentence(rows)} {_first_ten(rows)}"
    )


def _side_sentence(rows):
    """What the channels of each side cost where they tell the halves apart most."""
    parts = []
    for side, other_side in (_SIDES, _SIDES[::-1]):
        count, own, other = largest_side_effect(rows, side)
        parts.append(
            f"{side} channels at N = {count}, where they cost the {side} half {_points(own)} and "
            f"the {other_side} half {_points(other)}{_times(own, other)}"
        )
    return f"The halves are furthest apart for {'; for '.join(parts)}."


def _ratio(costs):
    if costs["random"] < 0.1 or costs["overall"] <= costs["random"]:
        return ""
    return f" ({costs['overall'] / costs['random']:.1f} times less)"


def _first_ten(rows):
    """The first count at which overall channels cost ten points, and what others cost there."""
    costs = costs_by_count(rows, "whole")
    counts = [count for count in sorted(costs["overall"]) if costs["overall"][count] >= _TEN]
    if not counts:
        return f"No number of overall channels costs {_TEN} points."
    first = counts[0]
    values = {ranking: _points(found[first]) for ranking, found in costs.items()}
    return (
        f"The first N at which overall channels cost at least {_TEN} points is {first}: "
        f"{values['overall']}, against {values['random']} for random ones and "
        f"{values['most_active']} for the most active."
    )


def _explanation(network, settings):
    height, width = network["image_shape"][:2]
    trained = (
        "weights that were given"
        if settings["weights"]
        else f"trained for {network['epochs']} epochs on {network['train_images']:,} images"
    )
    maps = {
        "features": "the backbone's feature map",
        "head_relu": "the feature map of the head's last convolution",
    }
    ways = {"region": "images of which one half is kept", "signed_flip": "signed flip differences"}
    return (
        f"DeepLabv3 on a ResNet-{settings['depth']}, width {settings['width']}, output stride "
        f"{settings['output_stride']}, {network['channels']} channels in "
        f"{maps[settings['latent']]}; "
        f"{width}x{height} pixels; {trained}; scored on {network['test_images']:,} others. "
        f"Channels were ranked on {network['rank_images']:,} training images: overall by flips, "
        f"left and right by {ways[settings['method']]}"
        f"{', divided by their mean activity' if settings['divide_by_activity'] else ''}. Switched "
        "off means zero in that map. Random: the mean of "
        f"{settings['draws']} draws, after ± their standard deviation. The effect is what overall "
        "channels cost beyond random ones. mIoU is the mean over the classes that the truth has in "
        "that part of the images, as a class that is only in the prediction would count with an "
        "IoU of 0 from a single stray pixel on; what it takes from others counts. Void pixels do "
        "not."
    )


def _plain(table):
    text = io.StringIO()
    Console(file=text, width=250).print(table)
    return "\n".join(line.strip() for line in text.getvalue().splitlines() if line.strip())
