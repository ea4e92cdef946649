"""What every figure of the experiments must have, for someone who has not read the code."""

from matplotlib.colors import to_hex
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text

from keras_gappos.experiments.engine.pictures import SMALLEST

TOLERANCE = 1.0  # pixels


def check_figure(figure):
    """Draws a figure and asserts that it can be read; returns the texts of its legends."""
    figure.draw_without_rendering()
    axes = [ax for ax in figure.get_axes() if ax.get_visible()]
    legends = figure.findobj(Legend)
    check_text(figure, axes, legends)
    texts = [text.get_text() for legend in legends for text in legend.get_texts()]
    handles = [handle for legend in legends for handle in legend.legend_handles]
    # A color has a name in a legend, or in a text of that color.
    named = {color for handle in handles for color in colors_of(handle)}
    named |= {to_hex(text.get_color()) for ax in axes for text in ax.texts} | {to_hex("white")}
    for ax in axes:
        labels = ax.get_legend_handles_labels()[1]
        assert set(labels) <= set(texts), f"not in a legend: {set(labels) - set(texts)}"
        if ax.get_label() == "<colorbar>" or not ax.axison:
            continue
        for artist in (*ax.lines, *ax.collections, *ax.patches):
            assert colors_of(artist) <= named, f"no name for the color of {artist}"
        for axis in () if ax.images else (ax.xaxis, ax.yaxis):
            shared = not any(label.get_visible() for label in axis.get_ticklabels())
            assert axis.get_label_text() or shared, f"an axis of {ax} has no label"
    return texts


def check_text(figure, axes, legends):
    """Asserts that all text is large enough, and inside the figure."""
    for text in figure.findobj(Text):
        if text.get_text().strip():
            assert text.get_fontsize() >= SMALLEST, text
    parts = [figure, *figure.findobj(lambda artist: hasattr(artist, "get_suptitle"))]
    titles = [part._suptitle for part in parts if part.get_suptitle()]
    boxes = [ax.get_tightbbox() for ax in axes]
    boxes += [artist.get_window_extent() for artist in (*legends, *titles)]
    for box in boxes:
        assert box.x0 >= -TOLERANCE and box.y0 >= -TOLERANCE
        assert box.x1 <= figure.bbox.width + TOLERANCE
        assert box.y1 <= figure.bbox.height + TOLERANCE
    for title in titles:
        assert not any(title.get_window_extent().overlaps(box) for box in boxes[: len(axes)])
    for legend in legends:
        others = [box for ax, box in zip(axes, boxes) if ax.get_legend() is not legend]
        assert not any(legend.get_window_extent().overlaps(box) for box in others), legend


def colors_of(artist):
    """The colors of a line, of points or of a patch."""
    if isinstance(artist, Line2D):
        colors = [artist.get_color()]
    elif isinstance(artist, Patch):
        colors = [artist.get_facecolor() if artist.get_fill() else artist.get_edgecolor()]
    else:
        colors = [*artist.get_facecolor()] or [*artist.get_edgecolor()]
    return {to_hex(color) for color in colors}
