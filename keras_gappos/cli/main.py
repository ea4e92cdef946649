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
from keras_gappos.experiments.catalog import EXPERIMENTS
from keras_gappos.experiments.engine.settings import JitCompile, Precision
from keras_gappos.experiments.location.run import Location
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.interrupts import interrupts_kept

_NAMELESS = tyro.conf.arg(name="")


@dataclasses.dataclass(frozen=True)
class DemoSettings:
    """Where the demo writes, its seed, and how it is computed."""

    output_dir: str = "keras-gappos-demo"
    """Folder for results.json, table.md, figure.png and the weights; a demo that was stopped
    resumes from it."""
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
    tiny = LocationSettings(
        dataset="digits",
        grids=(3, 5, 7),
        tasks=("location",),
        width=8,
        epochs=4,
        target_accuracy=99.9,
        batch_size=32,
        flip=False,
        test_passes=2,
        **dataclasses.asdict(settings),
    )
    rows = Location(tiny).run(console)
    _show(console, Location.make_table(rows), settings.output_dir)
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


def _run_command(experiment):
    """The function behind `keras-gappos run NAME`, whose help is the experiment's docstring."""

    def run(settings):
        console = Console()
        rows = experiment(settings).run(console)
        _show(console, experiment.make_table(rows), settings.output_dir)

    run.__doc__ = experiment.__doc__
    run.__annotations__ = {"settings": Annotated[experiment.Settings, _NAMELESS], "return": None}
    return run


def run_tune(settings: Annotated[TuneSettings, _NAMELESS]) -> None:
    """Search AugShift's settings with KerasTuner, on training images that are held out.

    Accuracies and consistencies are in percent, shifts in pixels. Ends with the best five trials,
    and the command that trains the best at full length. The same command resumes a search that was
    stopped. --workers shares the trials among processes; for several machines see the README.
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


use_docstrings(DemoSettings, TuneSettings)
_RUN = tyro.extras.SubcommandApp()
for _name, _experiment in EXPERIMENTS.items():
    use_docstrings(_experiment.Settings)
    _RUN.command(_run_command(_experiment), name=_name)
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
            "\nInterrupted. Finished work is in the output folder; the same command resumes.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"keras-gappos: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
