"""The channels of a network, ranked by how much position, or of a label, they carry."""

import dataclasses
import json
import os
import pathlib

_LISTS = ("channels", "scores", "activity")


@dataclasses.dataclass(frozen=True)
class ChannelRanking:
    """What `rank_channels` or `rank_channels_by_label` found.

    Attributes:
        channels: indices of the channels, best first; `ranking.channels[:20]` are the best 20.
        scores: the score of each channel, in the channels' own order: `scores[3]` is channel 3's.
        activity: mean over the images of |z| for each channel, in the same order; z is the
            globally pooled feature map.
        num_images: number of images.
        settings: all that it takes to repeat the ranking.
    """

    channels: tuple[int, ...] = dataclasses.field(repr=False)
    scores: tuple[float, ...] = dataclasses.field(repr=False)
    activity: tuple[float, ...] = dataclasses.field(repr=False)
    num_images: int
    settings: dict

    def to_dict(self) -> dict:
        """All of it as `json.dump` takes it."""
        lists = {name: list(getattr(self, name)) for name in _LISTS}
        return {**lists, "num_images": self.num_images, "settings": dict(self.settings)}

    def to_json(self, path):
        """Writes a JSON file, whole or not at all; its folder must be there.

        Args:
            path: of the file; one that is there is replaced.
        """
        path = pathlib.Path(path)
        temporary = path.with_name(f".{os.getpid()}.{path.name}")
        try:
            temporary.write_text(json.dumps(self.to_dict(), indent=1) + "\n")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def from_json(cls, path):
        """Reads what `to_json` wrote.

        Raises:
            ValueError: if the file is something else.
        """
        try:
            content = json.loads(pathlib.Path(path).read_text())
            lists = {name: tuple(content[name]) for name in _LISTS}
            ranking = cls(
                **lists, num_images=content["num_images"], settings=dict(content["settings"])
            )
            order = list(range(len(ranking.scores)))
            if sorted(ranking.channels) != order or len(ranking.activity) != len(order):
                raise ValueError("its channels and scores do not match")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a channel ranking, as `ChannelRanking.to_json` writes it: {error}"
            ) from error
        return ranking

    def plot(self, axes=None):
        """Draws the scores, best first.

        Args:
            axes: matplotlib axes to draw on; `None` makes a figure of its own.

        Returns:
            The axes; `.figure.savefig(path)` saves it.

        Example:
            >>> ranking.plot().figure.savefig("ranking.png", dpi=150)  # doctest: +SKIP
        """
        if axes is None:
            import matplotlib.pyplot as plt

            axes = plt.figure(figsize=(6.4, 4.8), layout="constrained").add_subplot()
        ranks = range(1, len(self.channels) + 1)
        axes.plot(ranks, [self.scores[channel] for channel in self.channels], lw=2)
        axes.axhline(0, color="grey", lw=1)
        axes.set_xlabel("rank of the channel", fontsize=15)
        share = ", by activity" if self.settings["divide_by_activity"] else ""
        axes.set_ylabel(f"score ({self.settings['method']}{share})", fontsize=15)
        axes.tick_params(labelsize=14)
        region = self.settings["region"]
        title = "channels by label" if region == "label" else f"position channels: {region}"
        axes.set_title(title, fontsize=15)
        return axes
