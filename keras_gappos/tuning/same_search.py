"""What a search is, kept in its folder, so that nobody goes on with another one there."""

import json
import pathlib

from keras_gappos.files import write_json

FILE_NAME = "search.json"
_USUAL = "as usual"  # of what was not given


def check_same_search(directory, asked):
    """Records what a search is, or compares it with what its folder has.

    Args:
        directory: the folder of the search; made if it is missing.
        asked: dictionary of what makes a search what it is, for JSON.

    Raises:
        ValueError: if the folder holds another search; the message has the difference.
    """
    path = pathlib.Path(directory) / FILE_NAME
    if not _check(path, asked, f"`directory` {directory} holds another search"):
        write_json(path, asked)


def check_chiefs_search(directory, asked, chief):
    """Compares what a worker was started for with what its chief has recorded.

    Args:
        directory: the worker's folder of the search, which must be the chief's.
        asked: as in `check_same_search`.
        chief: where the chief is, for messages.

    Raises:
        ValueError: if the chief's search is another one.
        OSError: if the folder is not the chief's.
    """
    path = pathlib.Path(directory) / FILE_NAME
    if not _check(path, asked, f"The chief at {chief} makes another search in {directory}"):
        raise FileNotFoundError(
            f"{directory} is not the folder of the chief at {chief}: it has no {FILE_NAME}. All "
            "processes must see the same folder, under whatever name."
        )


def _check(path, asked, complaint):
    """Whether the file is there; raises a `ValueError` if it has something else."""
    if not path.exists():
        return False
    asked, found = json.loads(json.dumps(asked)), json.loads(path.read_text())
    names = [name for name in {**found, **asked} if found.get(name) != asked.get(name)]
    if names:
        difference = "; ".join(
            f"{name} is {found.get(name, _USUAL)} there, {asked.get(name, _USUAL)} here"
            for name in names
        )
        raise ValueError(f"{complaint}: {difference}. Choose another folder, or the same settings.")
    return True
