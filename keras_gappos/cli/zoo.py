"""The command `keras-gappos zoo`; its functions import the zoo, which `--help` can do without."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

if TYPE_CHECKING:
    from keras_gappos import zoo

_Name = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME", help="A model's name; see `zoo list`.")
]
_MaybeName = Annotated[
    str | None,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="NAME", help="A model's name; default: all models."),
]
_Pattern = Annotated[
    str | None,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="PATTERN",
        help="Pattern with * and ?, quoted, such as '*cifar10*'; default: all models.",
    ),
]
_Target = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="TARGET",
        help="hf://owner/name[@branch] or kaggle://owner/model/framework/variation, "
        "such as kaggle://me/gappos/keras/all.",
    ),
]
_MARK = "*"  # marks cached models
_WIDE = 100  # columns


def list_models(pattern: _Pattern = None) -> None:
    """List the pretrained models, with scores in percent and sizes."""
    from keras_gappos import zoo

    names = zoo.list_models(pattern)
    if not names:
        raise ValueError(
            "`pattern` must match a model; `keras-gappos zoo list` without one lists all. "
            f"Received: {pattern}"
        )
    console = Console()
    if not console.is_terminal:  # a pipe has no width
        console = Console(width=_WIDE)
    console.print(make_table([zoo.info(name) for name in names], console.width >= _WIDE))


def make_table(models: list[zoo.ZooModel], wide: bool = True) -> Table:
    """A table of models, with task and data set, which the names tell, too, if it may be wide."""
    from keras_gappos.zoo.cache import cached_path

    table = Table(
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption=f"{_MARK} weights are cached. Score: accuracy, or mIoU. Shift: shift consistency.",
        caption_justify="left",
    )
    table.add_column("", min_width=len(_MARK))
    table.add_column("model", no_wrap=True, min_width=max(len(model.name) for model in models))
    for name in ("score %", "shift %", "MB"):
        table.add_column(name, no_wrap=True, justify="right", min_width=len(name))
    for name in ("task", "data") if wide else ():
        table.add_column(name, no_wrap=True)
    for model in models:
        weights = model.files["weights"]
        row = [
            _MARK if os.path.exists(cached_path(weights)) else "",
            model.name,
            _score(model, "accuracy", "top1", "miou"),
            _score(model, "consistency_random"),
            f"{weights.bytes / 1e6:.1f}",
        ]
        table.add_row(*row, *([model.task, model.dataset] if wide else []))
    return table


def _score(model, *names):
    return next((f"{model.metrics[name]:.1f}" for name in names if name in model.metrics), "")


def show_info(name: _Name) -> None:
    """Show a model's card, settings and files.

    Plain Markdown unless on a terminal.
    """
    from keras_gappos import zoo

    text, console = format_info(zoo.info(name)), Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(text, end="")


def format_info(model: zoo.ZooModel) -> str:
    """A model's card and the rest of its entry, as Markdown."""
    from keras_gappos.zoo.card import format_card

    arguments = ", ".join(f"{key}={value!r}" for key, value in model.arguments.items())
    settings = "\n".join(f"- {key}: `{json.dumps(value)}`" for key, value in model.settings.items())
    row = ", ".join(f"{key} {value}" for key, value in model.key.items())
    files = "\n".join(map(_file_line, model.files.values()))
    return (
        f"{format_card(model)}\n"
        f"## Network\n\n`kg.models.{model.builder}({arguments})`\n\n"
        f"## Classes\n\n{', '.join(model.class_names)}\n\n"
        f"## Settings\n\nExperiment {model.experiment}; {row}.\n\n{settings}\n\n"
        f"## Files\n\n{files}\n"
    )


def _file_line(file):
    from keras_gappos.zoo.cache import cached_path

    cached = "cached" if os.path.exists(cached_path(file)) else "not cached"
    return f"- `{file.path}`, {file.bytes:,} bytes, {cached}, SHA-256 `{file.sha256}`"


def fetch(name: _Name, format: Literal["weights", "saved_model"] = "weights") -> None:
    """Fetch a model unless it is cached, and print its path.

    From KERAS_GAPPOS_ZOO (a folder, a URL, hf://owner/name[@revision] or
    kaggle://owner/model/framework/variation[/version]), else the checkout, else the installed
    package keras-gappos-zoo. A SavedModel that is not there is made here from the weights.

    Args:
        format: weights for `keras_gappos.zoo.load`, or a SavedModel for TensorFlow Serving.
    """
    from keras_gappos import zoo

    with _plain_warnings():
        print(zoo.fetch(name, format))


def verify(name: _MaybeName = None, reload: bool = False) -> None:
    """Verify the cached files by SHA-256.

    The exit status is 1 if one is damaged.

    Args:
        reload: Also fetch missing files, run each model on its stored input, and compare the
            outputs.
    """
    from keras_gappos import zoo

    console = Console()

    def show(finding):
        ending = f": {finding.detail}" if finding.detail else ""
        line = f"{finding.model}  {finding.part}  {finding.state}{ending}"
        console.print(line, style="red" if finding.is_bad else None, markup=False, soft_wrap=True)

    findings = zoo.verify(name, reload, show)
    complaint = complain(findings)
    if complaint:
        raise OSError(complaint)


def complain(findings: list[zoo.Finding]) -> str:
    """A one-line summary of failed checks; empty if there are none."""
    bad = [finding for finding in findings if finding.is_bad]
    if not bad:
        return ""
    names = dict.fromkeys(finding.model for finding in bad)
    return f"{len(bad)} of {len(findings)} checks failed, for {', '.join(names)}: see above."


def score(name: _Name, data_dir: str | None = None) -> None:
    """Reproduce the scores on a model's card.

    Takes up to ten minutes on a CPU.

    Args:
        data_dir: Folder of prepared TensorFlow Datasets; None is ~/tensorflow_datasets.
    """
    from keras_gappos import zoo
    from keras_gappos.experiments import catalog

    Console().print(make_score_table(zoo.info(name), catalog.score(name, data_dir)))


def make_score_table(model: zoo.ZooModel, measured: dict[str, float]) -> Table:
    """A table of the scores measured now and those on the card, in percent."""
    from keras_gappos.zoo.card import TITLES

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(model.name, no_wrap=True)
    for column in ("now", "card", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    for metric, value in model.metrics.items():
        now = measured[metric]
        table.add_row(
            TITLES.get(metric, metric.replace("_", " ")),
            f"{now:.2f}",
            f"{value:.2f}",
            f"{now - value:+.2f}",
        )
    return table


def add(
    results_dir: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(metavar="RESULTS_DIR", help="Of an experiment.")
    ],
    zoo_dir: str | None = None,
    registry_dir: str | None = None,
    tag: str | None = None,
    replace: bool = False,
    data_note: str | None = None,
) -> None:
    """Publish the networks that an experiment has trained.

    Writes files, cards and registry. Commit the results first: the cards name their commit. Files
    of models whose weights are already there do not change.

    Args:
        zoo_dir: Folder of the files; default: the checkout's zoo/.
        registry_dir: Folder of registry.json; default: the package's own.
        tag: Suffix for the models' names.
        replace: Replace models of the same names that come from other results.
        data_note: A note about the data for the cards; default: keep the present one.
    """
    from keras_gappos import zoo
    from keras_gappos.experiments import catalog

    registry_folder = registry_dir or pathlib.Path(zoo.__file__).parent
    catalog.publish(results_dir, _zoo_folder(zoo_dir), registry_folder, tag, replace, data_note)


def publish(target: _Target, zoo_dir: str | None = None) -> None:
    """Upload the zoo's verified files to Hugging Face or Kaggle.

    Afterwards KERAS_GAPPOS_ZOO=TARGET reads the models from there. Needs an account, signed in by
    its own library: `pip install 'keras-gappos[huggingface]'`, then `hf auth login` or HF_TOKEN; or
    `pip install 'keras-gappos[kaggle]'`, then KAGGLE_API_TOKEN or ~/.kaggle/access_token. On Kaggle
    a new model is private until its page says otherwise.

    Args:
        zoo_dir: Folder of the files; default: the checkout's zoo/.
    """
    from keras_gappos.zoo.upload import upload

    print(f"{upload(target, _zoo_folder(zoo_dir))} files uploaded to {target}")


def _zoo_folder(zoo_dir):
    """The folder of the zoo's files, by default the checkout's."""
    from keras_gappos.zoo import sources

    folder = zoo_dir or sources.checkout_folder()
    if folder is None:
        raise ValueError(
            "`zoo_dir` must be given where the package does not run in a checkout. Received: None"
        )
    return folder


@contextlib.contextmanager
def _plain_warnings():
    """Shows warnings in one line, without their location in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning
        yield


def _print_warning(message, *_):
    print(f"keras-gappos: {message}", file=sys.stderr)


COMMANDS = {
    "list": list_models,
    "info": show_info,
    "fetch": fetch,
    "verify": verify,
    "score": score,
    "add": add,
    "publish": publish,
}
