"""Tables for a terminal and for Markdown, and the files of a report."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from keras_gappos.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def terminal_table(
    headings: Iterable[str], lines: Iterable[Sequence[str]], left: int = 0, title: str | None = None
) -> Table:
    """A table that `rich` prints, without the columns that are empty in all lines.

    Args:
        headings: of the columns; may have line breaks.
        lines: the cells of each line.
        left: number of columns, from the first, that are aligned to the left.
        title: printed above the table.
    """
    table = Table(box=box.SIMPLE, collapse_padding=True, pad_edge=False, title=title)
    headings, lines = _filled(headings, lines)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    return table


def markdown_table(headings: Iterable[str], lines: Iterable[Sequence[str]], left: int = 0) -> str:
    """The same table in Markdown."""
    headings, lines = _filled(headings, lines)
    columns = list(zip([heading.replace("\n", " ") for heading in headings], *lines))
    widths = [max(map(len, column)) for column in columns]
    aligned = [
        [cell.ljust(width) if index < left else cell.rjust(width) for cell in column]
        for index, (column, width) in enumerate(zip(columns, widths))
    ]
    heading, *rest = (f"| {' | '.join(line)} |" for line in zip(*aligned))
    dashes = (
        "-" * (width + 2) if index < left else "-" * (width + 1) + ":"
        for index, width in enumerate(widths)
    )
    return "\n".join([heading, f"|{'|'.join(dashes)}|", *rest])


def _filled(headings, lines):
    """The headings and lines of the columns that have an entry; of all if there are no lines."""
    headings, lines = list(headings), [list(line) for line in lines]
    kept = [i for i in range(len(headings)) if not lines or any(line[i] for line in lines)]
    return [headings[i] for i in kept], [[line[i] for i in kept] for line in lines]


def page(results: dict, *parts: str) -> str:
    """The text of a `table.md`: its parts, then the command and what it ran on.

    Args:
        results: the content of `results.json`.
        *parts: paragraphs and tables; empty ones are left out.
    """
    environment = results["environment"]
    made_by = (
        f"Made with {environment['backend']} on {environment['device']} by\n\n"
        f"```sh\n{results['command']}\n```\n"
    )
    return "\n\n".join([*filter(None, parts), made_by])


def write_files(folder: pathlib.Path, text: str, figure: Figure | None = None) -> None:
    """Writes `table.md` and, if there is a figure, `figure.png` into a folder."""
    write_bytes(folder / "table.md", text.encode())
    if figure is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        write_bytes(folder / "figure.png", picture.getbuffer())
