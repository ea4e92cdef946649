"""The command `keras-gappos`: finds the command, reads its flags, and imports what it needs."""

import collections
import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
import pathlib
import re
import sys
from typing import Annotated, get_args, get_type_hints

import tyro
from rich.console import Console

from keras_gappos.cli import zoo
from keras_gappos.cli.explore import explore
from keras_gappos.cli.help import use_docstrings
from keras_gappos.experiments.catalog import EXPERIMENTS, experiment_class, settings_class
from keras_gappos.experiments.engine.settings import JitCompile, Precision
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.experiments.tune.settings import TuneSettings
from keras_gappos.startup import choose_backend, quiet_command_line
from keras_gappos.version import __version__

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
    """See in two minutes that position is in the channels' order.

    Trains GAPNet and PermuteNet to name the cell of a handwritten digit on 3x3, 5x5 and 7x7 grids,
    and ends with a table and a figure. Needs no download.
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
    location = experiment_class("location")
    rows = location(tiny).run(console)
    _show(console, location.make_table(rows), settings.output_dir)
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


def _run_command(name):
    """The function behind `keras-gappos run NAME`, whose help is the settings' docstring."""

    def run(settings):
        experiment = experiment_class(name)
        console = Console()
        rows = experiment(settings).run(console)
        _show(console, experiment.make_table(rows), settings.output_dir)

    run.__doc__ = settings_class(name).__doc__
    # Read by `inspect.signature`, as if it stood there.
    run.__annotations__ = {"settings": Annotated[settings_class(name), _NAMELESS], "return": None}
    return run


def run_tune(settings: Annotated[TuneSettings, _NAMELESS]) -> None:
    """Search AugShift's settings with KerasTuner.

    Networks are scored on training images that are held out. Accuracies and consistencies are in
    percent, shifts in pixels. Ends with the best five trials, and the command that trains the best
    at full length. The same command resumes a search that was stopped. --workers shares the trials
    among processes; docs/guides/tuning.md has several machines.
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


COMMANDS = {
    "demo": demo,
    **{f"run {name}": _run_command(name) for name in EXPERIMENTS},
    "tune": run_tune,
    "explore": explore,
    **{f"zoo {name}": function for name, function in zoo.COMMANDS.items()},
}


def _find_command(words):
    """`(command, its own words)`; exits with an overview where no command is named."""
    names = list(itertools.takewhile(lambda word: not word.startswith("-"), words))
    for command in (" ".join(names[:2]), *names[:1]):
        if command in COMMANDS:
            return command, words[len(command.split()) :]
    flags = words[len(names) :]
    if flags[:1] == ["--version"] and not names:
        print(f"keras-gappos {__version__}")
        raise SystemExit(0)
    group = [command for command in COMMANDS if not names or command.startswith(f"{names[0]} ")]
    if len(names) < 2 and group:
        print(_overview(group))
        raise SystemExit(0 if {"-h", "--help"} & set(flags) else 2)
    given = " ".join(names[:2])
    last_words = {command.split()[-1]: command for command in COMMANDS}
    near = difflib.get_close_matches(names[1] if group else names[0], last_words, n=1)
    hint = f"Did you mean `{last_words[near[0]]}`?" if near else "See keras-gappos --help."
    print(f"keras-gappos: there is no command `{given}`. {hint}", file=sys.stderr)
    raise SystemExit(2)


def _overview(commands):
    width = max(map(len, commands))
    lines = [
        f"  {name:{width}}  {inspect.getdoc(COMMANDS[name]).splitlines()[0]}" for name in commands
    ]
    return "\n".join(
        [
            "usage: keras-gappos COMMAND [OPTIONS]",
            "",
            "Position information in the channels of CNNs, for Keras.",
            "",
            *lines,
            "",
            "keras-gappos COMMAND --help tells a command's options; --version the version.",
        ]
    )


def _parse(command, words):
    """The command's function, with the arguments that its words give; not yet called."""
    function = COMMANDS[command]
    use_docstrings(*_settings_of(function))

    @functools.wraps(function)
    def bind(*args, **kwargs):
        return functools.partial(function, *args, **kwargs)

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(bind, prog=f"keras-gappos {command}", args=words)
    finally:
        # tyro prints the markup of one of its messages, and pads its lines as if it did not.
        text = re.sub(r"\[bold\](.*?)\[/bold\]([^│\n]*)", r"\1\2" + 13 * " ", errors.getvalue())
        print(text, end="", file=sys.stderr)


def _settings_of(function):
    """The dataclasses of settings among the types of a command's arguments."""
    kinds = get_type_hints(function).values()
    return [kind for kind in kinds if dataclasses.is_dataclass(kind)]


def _with_flags(message, command):
    """An error's message with the words of the command line in place of the arguments' names."""
    function = COMMANDS[command]
    hints = get_type_hints(function, include_extras=True)
    words = {
        name: name.upper() if _is_positional(hint) else _flag(name) for name, hint in hints.items()
    }
    fields = itertools.chain(*map(dataclasses.fields, _settings_of(function)))
    words |= {field.name: _flag(field.name) for field in fields}
    if "dataset" in words:  # what `data.load` calls a name
        words["name"] = words["dataset"]
        message = message.replace("Received: name=", "Received: ")

    def word(match):  # `name` or `name['key']`
        if match[1] not in words:
            return match[0]
        return f"{words[match[1]]} {match[2]}" if match[2] else words[match[1]]

    return re.sub(r"`(\w+)(?:\['(\w+)'\])?`", word, message)


def _is_positional(hint):
    # Python 3.10 puts an `Optional` around the type of an argument that is `None` by default.
    return any(tyro.conf.Positional in get_args(part) for part in (hint, *get_args(hint)))


def _flag(name):
    return f"--{name.replace('_', '-')}"


def main(argv=None):
    """Runs the command line `argv`, by default the process's; returns the exit status."""
    words, command = list(sys.argv[1:] if argv is None else argv), None
    try:
        command, words = _find_command(words)
        _check_flags(words)
        run = _parse(command, words)
        with quiet_command_line():
            choose_backend()
            from keras_gappos.interrupts import interrupts_kept
        with interrupts_kept():
            run()
    except KeyboardInterrupt:
        print(
            "\nInterrupted. Finished work is in the output folder; the same command resumes.",
            file=sys.stderr,
        )
        return 130
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        message = _with_flags(str(error), command) if command else error
        print(f"keras-gappos: {message}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
