"""Draws the pictures of `concepts.md` from real networks: `python docs/pictures.py`."""

import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_gappos as kg

FOLDER = pathlib.Path(__file__).parent / "pictures"
CELLS = (0, 4, 8)


def save(fig, name):
    """Writes one picture."""
    fig.savefig(FOLDER / name, dpi=110, bbox_inches="tight", pil_kwargs={"optimize": True})
    plt.close(fig)


def draw_maps():
    """A digit on three cells, the maps of three channels of GAPNet, and their pooled values."""
    info = kg.zoo.info("gapnet_resnet18.digits_location_3x3_w8")
    network = kg.zoo.load(info.name)
    last_map = keras.Model(network.input, network.get_layer("class_conv").input)
    digits = info.preprocess(kg.data.load("digits", "test", limit=101)[0])
    pooled = [
        last_map.predict(
            kg.layers.place_on_grid(digits[1:], np.full(100, cell), info.grid_size), verbose=0
        ).mean(axis=(0, 1, 2))
        for cell in CELLS
    ]
    # For each cell the channel that responds most to it, compared with the other cells.
    channels = [
        (own / (sum(pooled) + 1e-3)).argmax() for own in np.where(np.stack(pooled) > 0.3, pooled, 0)
    ]
    canvases = kg.layers.place_on_grid(np.repeat(digits[:1], 3, 0), list(CELLS), info.grid_size)
    maps = last_map.predict(canvases, verbose=0)[..., channels]
    values = maps.mean(axis=(1, 2))
    fig, axes = plt.subplots(3, 5, figsize=(10, 5.6), width_ratios=(1, 1, 1, 1, 1.5))
    for row, (cell, canvas) in enumerate(zip(CELLS, np.asarray(canvases))):
        axes[row, 0].imshow(canvas[..., 0], cmap="gray")
        axes[row, 0].set_ylabel(f"cell {cell}", fontsize=12)
        for column in range(3):
            axes[row, 1 + column].imshow(
                maps[row, ..., column], vmin=0, vmax=maps[..., column].max()
            )
        axes[row, 4].bar(range(3), values[row] / values.max(0), color=["C0", "C1", "C2"])
        axes[row, 4].set(ylim=(0, 1.05), yticks=(0, 1), xticks=range(3))
        axes[row, 4].set_xticklabels(channels)
    titles = ("image", *(f"map of channel {channel}" for channel in channels), "pooled, by channel")
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=11)
    for ax in axes[:, :4].flat:
        ax.set(xticks=[], yticks=[])
    fig.tight_layout()
    save(fig, "maps.png")


def draw_border():
    """How far the border has come in, layer by layer, for an image of one color."""
    depths = ("stem_conv", "stage1_block1_conv1", "stage2_block1_conv1", "stage3_block1_conv1")
    titles = ("1st convolution", "2nd", "6th", "10th")
    fig, axes = plt.subplots(2, 4, figsize=(9, 4.1))
    for row, padding in zip(axes, ("zeros", "circular")):
        keras.utils.set_random_seed(0)
        network = kg.models.resnet(18, (48, 48, 3), 10, width=16, padding=padding)
        outputs = [network.get_layer(name).output for name in depths]
        maps = keras.Model(network.input, outputs)(np.ones((1, 48, 48, 3), "float32"))
        for ax, feature_map in zip(row, maps):
            feature_map = np.asarray(feature_map)[0]
            middle = feature_map[len(feature_map) // 2, len(feature_map) // 2]
            change = np.linalg.norm(feature_map - middle, axis=-1) / np.linalg.norm(middle)
            picture = ax.imshow(change, vmin=0, vmax=1, cmap="magma")
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(f"padding: {padding}", fontsize=12)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title, fontsize=12)
    fig.colorbar(picture, ax=axes, label="difference from the middle pixel")
    save(fig, "border.png")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    draw_maps()
    draw_border()
