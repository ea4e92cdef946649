"""Classes, colors and ignored label of the segmentation data sets."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pathlib
import re

import numpy as np


@dataclasses.dataclass(frozen=True)
class SegmentationInfo:
    """The classes of a segmentation data set, as `load` returns them.

    Attributes:
        num_classes: number of classes; masks contain 0 to num_classes - 1, and `ignore_class`.
        class_names: a name for each class.
        colors: (red, green, blue) in [0, 255] for each class.
        ignore_class: label of unlabeled pixels, which are ignored, or `None`.
        source_labels: the label of each class in the data set's files, if they differ; `load`
            translates them, and maps all others to `ignore_class`.

    Examples:
        >>> info = keras_gappos.data.segmentation_info("camvid")
        >>> info.class_names[info.num_classes - 1], info.ignore_class
        ('bicyclist', 11)
    """

    num_classes: int
    class_names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_class: int | None
    source_labels: tuple[int, ...] | None = None

    def paint(self, masks: np.ndarray) -> np.ndarray:
        """Colors masks: integers `(..., height, width)` to uint8 `(..., height, width, 3)`.

        Pixels without a class are black.
        """
        masks = np.asarray(masks)
        palette = np.array([*self.colors, (0, 0, 0)], "uint8")
        is_class = (masks >= 0) & (masks < self.num_classes)
        return palette[np.where(is_class, masks, self.num_classes)]

    def translate(self, masks: np.ndarray) -> np.ndarray:
        """Translates masks from the files' labels to classes, uint8."""
        if self.source_labels is None:
            return masks
        table = np.full(256, self.ignore_class, "uint8")
        table[list(self.source_labels)] = np.arange(self.num_classes)
        return table[masks]


def segmentation_info(name: str | os.PathLike) -> SegmentationInfo:
    """Returns the classes, colors and ignored label of a segmentation data set.

    Args:
        name: `"shapes"`, `"camvid"` or `"cityscapes"`, with or without a configuration and version,
            or a prepared TFDS folder.

    Returns:
        A `SegmentationInfo`.

    Raises:
        ValueError: for any other name; create a `SegmentationInfo` for it.

    Examples:
        >>> keras_gappos.data.segmentation_info("cityscapes").num_classes
        19
    """
    plain = plain_name(name)
    if plain not in INFOS:
        near = difflib.get_close_matches(str(plain), INFOS, n=1)
        raise ValueError(
            f"`name` must be one of {tuple(INFOS)}; for others, create a SegmentationInfo. "
            f"Received: name={name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
        )
    return INFOS[plain]


def plain_name(name: str | os.PathLike) -> str:
    """The name of a data set without configuration and version; also for a prepared folder.

    A folder that is not on this machine has the name of its path, without a version at its end.
    """
    path = pathlib.Path(name)
    described = path.expanduser() / "dataset_info.json"
    if described.is_file():
        return json.loads(described.read_text())["name"]
    if path.is_absolute() or str(name).startswith(("~", ".")):
        is_version = re.fullmatch(r"\d+\.\d+\.\d+", path.name) and path.parent.name
        return path.parent.name if is_version else path.name
    return re.split("[:/]", str(name))[0]


def _info(classes, ignore_class, source_labels=None):
    names, colors = tuple(classes), tuple(classes.values())
    return SegmentationInfo(len(names), names, colors, ignore_class, source_labels)


INFOS = {
    "shapes": _info(
        {
            "ground": (80, 80, 80),
            "circle": (255, 255, 35),
            "square": (195, 150, 135),
            "left triangle": (185, 65, 30),
            "right triangle": (10, 85, 210),
            "left cross": (240, 150, 25),
            "right cross": (75, 175, 250),
        },
        ignore_class=7,
    ),
    # The 11 classes and their order: Badrinarayanan et al., arXiv 1511.00561. The data set's own
    # colors look alike to the color-blind: building and pedestrian, sky and sign, road and fence.
    "camvid": _info(
        {
            "sky": (155, 230, 250),
            "building": (100, 0, 80),
            "pole": (220, 255, 180),
            "road": (115, 80, 160),
            "pavement": (165, 155, 240),
            "tree": (0, 75, 20),
            "sign": (220, 155, 25),
            "fence": (140, 110, 25),
            "car": (45, 0, 135),
            "pedestrian": (255, 230, 15),
            "bicyclist": (35, 85, 230),
        },
        ignore_class=11,
    ),
    # Cordts et al., arXiv 1604.01685: the 19 evaluated classes of 34 labels.
    "cityscapes": _info(
        {
            "road": (128, 64, 128),
            "sidewalk": (244, 35, 232),
            "building": (70, 70, 70),
            "wall": (102, 102, 156),
            "fence": (190, 153, 153),
            "pole": (153, 153, 153),
            "traffic light": (250, 170, 30),
            "traffic sign": (220, 220, 0),
            "vegetation": (107, 142, 35),
            "terrain": (152, 251, 152),
            "sky": (70, 130, 180),
            "person": (220, 20, 60),
            "rider": (255, 0, 0),
            "car": (0, 0, 142),
            "truck": (0, 0, 70),
            "bus": (0, 60, 100),
            "train": (0, 80, 100),
            "motorcycle": (0, 0, 230),
            "bicycle": (119, 11, 32),
        },
        ignore_class=19,
        source_labels=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
    ),
}
