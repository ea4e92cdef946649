"""The command `keras-gappos`."""

import collections
import dataclasses
import pathlib
import sys
from typing import Annotated

import tyro
from rich.console import Console

from keras_gappos.cli import zoo as cli_zoo
from keras_gappos.cli.help import use_docstrings
from keras_gappos.experiments.attack import report as attack_report
from keras_gappos.experiments.attack import run as attack
from keras_gappos.experiments.attack.settings import AttackSettings
from keras_gappos.experiments.engine.settings import JitCompile, Precision
from keras_gappos.experiments.invariance import report as invariance_report
from keras_gappos.experiments.invariance import run as invariance
from keras_gappos.experiments.invariance.settings import InvarianceSettings
from keras_gappos.experiments.location import report as location_report
from keras_gappos.experiments.location import run as location
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.probe import report as channels_report
from keras_gappos.experiments.probe import run as channels
from keras_gappos.experiments.probe.settings import ChannelsSettings
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.interrupts import interrupts_kept

_NAMELESS = tyro.conf.arg(name="")


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """Where the demo writes, its seed, and how it is computed."""

    output_dir: str = "keras-gappos-demo"
    """Folder for results.json, table.md, figure.png and the weights; a demo that was stopped goes
    on from what is in it."""
    seed: int = 0
    """Seed of the weights, the cells and the permutations."""
    precision: Precision = "float32"
    """Keras dtype policy, in training and in the scores."""
    jit_compile: JitCompile = "auto"
    """Compile the training step with XLA: on, off, or auto, where Keras decides."""


def demo(settings: Annotated[DemoSettings, _NAMELESS]) -> None:
    """Show in two minutes, without a download, that position is in the channels' order.

    Trains GAPNet and PermuteNet to name the cell of a handwritten digit on 3x3, 5x5 and 7x7 grids,
    and ends with a table and a figure.
    """
    console = Console()
    rows = location.run(
        LocationSettings(
            dataset="digits",
            output_dir=settings.output_dir,
            grids=(3, 5, 7),
            tasks=("location",),
            width=8,
            epochs=4,
            target_accuracy=99.9,
            batch_size=32,
            flip=False,
            test_passes=2,
            seed=settings.seed,
            precision=settings.precision,
            jit_compile=settings.jit_compile,
        ),
        console,
    )
    _show(console, location_report.make_table(rows), settings.output_dir)
    console.print(_sentence(rows))


def _sentence(rows):
    """What the demo's rows show, in one sentence."""

    def range_of(network):
        found = [row["accuracy"] for row in rows if row["network"] == network]
        low, high = (f"{value(found):.0f}" for value in (min, max))
        return f"{low} %" if low == high else f"{low} to {high} %"

    return (
        f"After global average pooling GAPNet still names the cell of {range_of('gapnet')} of the "
        f"images, with its channels shuffled PermuteNet of {range_of('permutenet')}: the place is "
        "in the order of the channels."
    )


def run_location(settings: Annotated[LocationSettings, _NAMELESS]) -> None:
    """The paper's first table: location and class accuracy of GAPNet and PermuteNet.

    The defaults are the paper's, on CIFAR-10; they take days on a CPU. Accuracies are in percent.
    Stopped and started again with the same flags, it goes on where it was.
    """
    console = Console()
    rows = location.run(settings, console)
    _show(console, location_report.make_table(rows), settings.output_dir)


def run_invariance(settings: Annotated[InvarianceSettings, _NAMELESS]) -> None:
    """The paper's AugShift tables: accuracy and shift consistency of AugShift and its rivals.

    The defaults are of the size of the paper's, on CIFAR-10; they need a GPU. Accuracies and
    consistencies are in percent, shifts in pixels. Stopped and started again with the same flags,
    it goes on where it was; --methods may name other methods then.
    """
    console = Console()
    rows = invariance.run(settings, console)
    _show(console, invariance_report.make_table(rows), settings.output_dir)


def run_attack(settings: Annotated[AttackSettings, _NAMELESS]) -> None:
    """The paper's attack: a segmentation network without its position channels.

    Trains DeepLabv3, ranks its channels by position, and switches the best ones off. The defaults
    take minutes, on an embedded data set. Sizes are in pixels, mIoU in percent. Stopped and started
    again with the same flags, it goes on where it was.
    """
    console = Console()
    rows = attack.run(settings, console)
    _show(console, attack_report.make_table(rows), settings.output_dir)


def run_channels(settings: Annotated[ChannelsSettings, _NAMELESS]) -> None:
    """Position channels and class channels of one backbone, told apart.

    Trains for the class alone, puts a second head for the location on the frozen backbone, and
    switches its channels off. The defaults take minutes, on embedded digits. Accuracies are in
    percent. Stopped and started again with the same flags, it goes on where it was.
    """
    console = Console()
    rows = channels.run(settings, console)
    _show(console, channels_report.make_table(rows), settings.output_dir)


def run_tune(settings: Annotated[TuneSettings, _NAMELESS]) -> None:
    """Search AugShift's settings with KerasTuner, on training images that are held out.

    Accuracies and consistencies are in percent, shifts in pixels. Ends with the best five trials,
    and the command that trains the best at full length. Stopped and started again with the same
    flags, it goes on where it was. --workers shares the trials among processes; for many machines
    see the README.
    """
    from keras_gappos.experiments.tune import report as tune_report
    from keras_gappos.experiments.tune import run as tune

    console = Console()
    content = tune.run(settings, console)
    if content is None:  # a worker
        return
    table = tune_report.make_table(content["rows"], settings.objective, settings.tolerance)
    _show(console, table, settings.output_dir)
    command = tune_report.best_command(content)
    if command:
        console.print("The best at full length:", highlight=False)
        console.print(command, highlight=False, soft_wrap=True)


def _show(console, table, output_dir):
    folder = pathlib.Path(output_dir).expanduser()
    console.print(table)
    for name in ("table.md", "figure.png", "results.json"):
        if (folder / name).exists():
            console.print(f"{folder / name}", highlight=False, soft_wrap=True)


def _check_flags(words):
    """Raises a `ValueError` for a flag that comes twice, of which only the last would count."""
    flags = [word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for flag, count in collections.Counter(flags).items():
        if count > 1:
            raise ValueError(
                f"`{flag}` must be given once; where it takes several values, all of them follow "
                f"it: {flag} A B. Received: {flag} {count} times"
            )


use_docstrings(DemoSettings, LocationSettings, InvarianceSettings)
use_docstrings(AttackSettings, ChannelsSettings, TuneSettings)
_RUN = tyro.extras.SubcommandApp()
_RUN.command(run_location, name="location")
_RUN.command(run_invariance, name="invariance")
_RUN.command(run_attack, name="attack")
_RUN.command(run_channels, name="channels")
_APP = tyro.extras.SubcommandApp()
_APP.command(demo)
_APP.command(_RUN, name="run", help="Run an experiment of the paper.")
_APP.command(run_tune, name="tune")
_APP.command(cli_zoo.ZOO, name="zoo", help="The pretrained models: list, fetch and verify them.")


def main(argv=None):
    """Runs the command line `argv`, by default the process's; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        _check_flags(argv)
        with interrupts_kept():
            _APP.cli(
                prog="keras-gappos",
                description="Position information in the channels of CNNs, for Keras.",
                args=argv,
            )
    except KeyboardInterrupt:
        print(
            "\nInterrupted. What was finished is in the output folder; "
            "the same command goes on from there.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"keras-gappos: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
