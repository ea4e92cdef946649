"""What switching channels off costs: the rows of a sweep in numbers and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_gappos.experiments.engine import markdown
from keras_gappos.experiments.engine.results import find_row

Costs = dict[str, dict[int, float]]  # ranking -> number of channels off -> points


def networks(rows: list[dict]) -> list[dict]:
    """The rows of the networks with all channels on."""
    return [row for row in rows if row["ranking"] == "none"]


def sweep_of(rows: list[dict], network: dict, name: str) -> list[dict]:
    """The rows of a network's sweep.

    Args:
        rows: the experiment's rows.
        network: one of `networks(rows)`.
        name: the entry that identifies the network.
    """
    return [row for row in rows if row[name] == network[name] and row["ranking"] != "none"]


def costs(rows: list[dict], score: str, **part: str) -> Costs:
    """What switching off costs, in points of a score.

    Args:
        rows: rows of one network's sweep, a count of 0 among them.
        score: the entry with the score, in percent.
        **part: other entries that rows must have, such as `region="left"`.
    """
    rows = [row for row in rows if part.items() <= row.items()]
    intact = {row["ranking"]: row[score] for row in rows if row["count"] == 0}
    found: Costs = {}
    for row in rows:
        if row["count"] > 0:
            cost = intact[row["ranking"]] - row[score]
            found.setdefault(row["ranking"], {})[row["count"]] = cost
    return found


def telling_counts(found: Costs) -> list[int]:
    """The counts at which rankings differ: they do not where all channels are off."""
    counts = list(next(iter(found.values())))
    telling = [n for n in counts if np.ptp([of[n] for of in found.values()]) > 1e-6]
    return telling or counts


def largest_effect(
    rows: list[dict], score: str, ranking: str, **part: str
) -> tuple[int, dict[str, float]]:
    """The count at which a ranking's channels cost most beyond random ones.

    Args:
        rows, score, part: as in `costs`.
        ranking: name of the ranking.

    Returns:
        `(count, costs)`: of equal effects the smaller count, and the cost there by ranking.
    """
    found = costs(rows, score, **part)
    beyond = {n: cost - found["random"][n] for n, cost in found[ranking].items()}
    count = max(telling_counts(found), key=lambda n: (beyond[n], -n))
    return count, {name: of[count] for name, of in found.items()}


def sweep_lines(
    rows: list[dict],
    score: str,
    columns: Sequence[tuple[str, Sequence[dict]]],
    spread: bool = True,
) -> list[list[str]]:
    """The lines of a table of scores by number of channels off.

    Args:
        rows: rows of one network's sweep.
        score: the entry with the score; that of random draws has a deviation, `{score}_std`.
        columns: for each column a ranking, and the entries of each row whose score it shows.
        spread: whether to show the deviation, after ±.
    """

    def text(row):
        std = row.get(f"{score}_std") if spread and row["count"] else None
        return f"{row[score]:.1f}" + ("" if std is None else f"±{std:.1f}")

    def cell(count, ranking, parts):
        keys = ({"ranking": ranking, "count": count, **part} for part in parts)
        return " / ".join(text(find_row(rows, key)) for key in keys)

    counts = sorted({row["count"] for row in rows})
    return [[str(count), *(cell(count, *column) for column in columns)] for count in counts]


def page(
    results: dict,
    title: str,
    networks: list[tuple[dict, list[dict]]],
    sections: Callable,
    captions: Callable,
) -> str:
    """The text of a `table.md`.

    Args:
        results: the content of `results.json`.
        title: heading of the page, to which the data set's name is added.
        networks: each network's row, and those of its sweep.
        sections: function of these two that returns the parts of a network.
        captions: function of a network's row and the settings that returns the parts below.
    """
    settings = results["settings"]
    parts = [f"{title} {settings['dataset']}"]
    for network, rows in networks:
        parts += sections(network, rows)
    if networks:
        parts += captions(networks[0][0], settings)
    return markdown.page(results, *parts)


def points(value: float) -> str:
    """Percentage points with one digit, without a minus before what rounds to zero."""
    return f"{round(value, 1) + 0.0:.1f}"
