"""What a notebook that is executed has in its file. Needs nbclient and ipykernel."""

import pytest

pytestmark = pytest.mark.slow

SETUP = """
from keras_gappos.analysis import AblationSweep, ChannelRanking, progress

progress.DELAY = -1.0
settings = {"region": "left", "method": "region", "divide_by_activity": False}
ranking = ChannelRanking((1, 0), (0.1, 0.5), (1.0, 1.0), 50, settings)
sweep = AblationSweep([{"ranking": "left", "count": 0, "region": "whole", "miou": 80.0}])
"""
CELLS = """
with progress.ProgressBar("counting", 5000) as bar:
    for number in range(5000):
        bar.advance()
---
ranking.plot();
---
ax = sweep.plot()
"""


def test_bars_leave_nothing_and_each_cell_shows_its_plot():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(source) for source in (SETUP, *CELLS.split("---"))]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    bar, *plots = (cell.outputs for cell in notebook.cells[1:])
    assert [output.data for output in bar] == [{"text/plain": ""}]
    for (output,) in plots:
        assert "image/png" in output.data
