import io

from rich.console import Console

from keras_gappos.experiments.engine.markdown import (
    markdown_table,
    page,
    terminal_table,
    write_files,
)

LINES = [["a", "1.0", "left"], ["long", "10.0", ""]]


def test_a_markdown_table_is_aligned_and_has_headings_of_one_line():
    assert markdown_table(("name", "score\n%", "why"), LINES, 1).splitlines() == [
        "| name | score % |  why |",
        "|------|--------:|-----:|",
        "| a    |     1.0 | left |",
        "| long |    10.0 |      |",
    ]


def test_a_table_without_lines_has_its_headings():
    assert markdown_table(("a", "b"), []) == "| a | b |\n|--:|--:|"


def test_the_same_table_on_a_terminal():
    text = io.StringIO()
    table = terminal_table(("name", "score\n%", "why"), LINES, 1, "title")
    Console(file=text, width=80).print(table)
    lines = [line.split() for line in text.getvalue().splitlines() if line.strip()]
    assert lines[:3] == [["title"], ["score"], ["name", "%", "why"]]
    assert lines[-2:] == [["a", "1.0", "left"], ["long", "10.0"]]


def test_a_page_ends_with_the_command_and_leaves_out_what_is_empty():
    environment = {"backend": "jax 1.0", "device": "CPU, 2 cores"}
    text = page({"environment": environment, "command": "keras-gappos demo"}, "# A", "", "b")
    assert text == (
        "# A\n\nb\n\nMade with jax 1.0 on CPU, 2 cores by\n\n```sh\nkeras-gappos demo\n```\n"
    )


def test_files_are_written_whole(tmp_path):
    from matplotlib.figure import Figure

    write_files(tmp_path, "± 1\n")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    write_files(tmp_path, "± 1\n", Figure())
    assert (tmp_path / "table.md").read_text("utf-8") == "± 1\n"
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2
