"""The zoo on Hugging Face and Kaggle, read and written with their own client libraries."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import NamedTuple

from keras_gappos.files import is_full
from keras_gappos.version import __version__


class Hub(NamedTuple):
    """A site that holds files, and how to use it.

    Attributes:
        library: the module of its client library.
        extra: the extra of this package that installs it.
        form: an address, for messages.
        pattern: a regular expression of the place and the version in an address, without scheme.
        sign_in: how to sign in.
        download: function of (library, place, version, path of a file there, folder) that returns
            the path of the file in or below the folder.
        upload: function of (library, place, version, folder).
    """

    library: str
    extra: str
    form: str
    pattern: str
    sign_in: str
    download: Callable[[ModuleType, str, str | None, str, str], str]
    upload: Callable[[ModuleType, str, str | None, str], None]


def is_address(text: str) -> bool:
    """Whether a text is meant as an address of one of `HUBS`, such as `"hf://owner/name"`."""
    return text.partition("://")[0] in HUBS


def parse_address(address: str) -> tuple[Hub, str, str | None]:
    """Splits an address.

    Args:
        address: `"hf://owner/name"`, `"hf://owner/name@revision"`,
            `"kaggle://owner/model/framework/variation"`, or the last with `"/version"`.

    Returns:
        The hub, the place there, and the revision or version or `None`.

    Raises:
        ValueError: for anything else.

    Example:
        >>> parse_address("hf://me/zoo@v1")[1:]
        ('me/zoo', 'v1')
        >>> parse_address("kaggle://me/zoo/keras/all/2")[1:]
        ('me/zoo/keras/all', '2')
    """
    scheme, _, rest = address.partition("://")
    match = re.fullmatch(HUBS[scheme].pattern, rest.rstrip("/")) if scheme in HUBS else None
    if match is None:
        forms = " or ".join(hub.form for hub in HUBS.values())
        raise ValueError(f"The zoo's address must be {forms}. Received: {without_secrets(address)}")
    return HUBS[scheme], match[1], match[2]


def download(address: str, path: str, folder: str) -> str:
    """Downloads one file of a hub.

    Args:
        address: see `parse_address`.
        path: the file's path there.
        folder: where to put it, at this path or in a folder below.

    Returns:
        The downloaded file's path. Its content is not verified.

    Raises:
        ImportError: if the client library is missing.
        FileNotFoundError: if it is not there, or not for the user.
        OSError: for any other failure.
    """
    hub, place, version = parse_address(address)
    with _used(hub) as library:
        return hub.download(library, place, version, path, folder)


def upload(address: str, folder: str) -> None:
    """Uploads a folder to a hub as a new revision or version; raises like `download`."""
    hub, place, version = parse_address(address)
    with _used(hub) as library:
        hub.upload(library, place, version, folder)


@contextlib.contextmanager
def _used(hub: Hub) -> Iterator[ModuleType]:
    """Gives a hub's library, and makes its errors short ones of Python."""
    try:
        library = importlib.import_module(hub.library)
    except ImportError as error:
        scheme = hub.form.partition(":")[0]
        raise ImportError(
            f"{scheme}:// needs {hub.library}: pip install 'keras-gappos[{hub.extra}]'"
        ) from error
    logging.getLogger(hub.library).setLevel(logging.WARNING)
    try:
        yield library
    except Exception as error:  # the libraries have many kinds, without a common base
        if is_full(error):
            raise
        raise _described(hub, error) from None  # its traceback may hold a token


def _described(hub, error):
    """The error to raise for one of a hub's library."""
    responses = [getattr(each, "response", None) for each in (error, error.__cause__)]
    found = [getattr(response, "status_code", None) for response in responses]
    status = next(filter(None, [*found, getattr(error, "error_code", None)]), None)
    if status in (401, 403):
        return PermissionError(f"no access ({status}): sign in with {hub.sign_in}")
    if status == 404:
        return FileNotFoundError(f"not there (404); if it is private, sign in with {hub.sign_in}")
    reason = [*str(error).strip().splitlines(), type(error).__name__][0]
    return OSError(without_secrets(f"{reason} ({status})" if status else reason))


def without_secrets(text: str) -> str:
    """The text with `***` for what URLs in it may hold of passwords and tokens.

    Example:
        >>> without_secrets("see https://me:secret@host/x?token=secret")
        'see https://***@host/x?***'
    """
    text = re.sub(r"://[^/\s]*@", "://***@", text)
    return re.sub(r"(://[^\s?#]*)[?#]\S*", r"\1?***", text)


def _download_from_hugging_face(library, place, version, path, folder):
    return _api(library).hf_hub_download(place, path, revision=version, local_dir=folder)


def _upload_to_hugging_face(library, place, version, folder):
    api, message = _api(library), f"Zoo of keras-gappos {__version__}"
    api.create_repo(place, exist_ok=True)
    if version is not None:
        api.create_branch(place, branch=version, exist_ok=True)
    api.upload_folder(repo_id=place, folder_path=folder, revision=version, commit_message=message)


def _api(library):
    # Keras imports the library, which reads the variable only once, and then.
    return library.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _download_from_kaggle(library, place, version, path, folder):
    handle = place if version is None else f"{place}/{version}"
    return library.model_download(handle, path, output_dir=folder)


def _upload_to_kaggle(library, place, version, folder):
    notes = f"Zoo of keras-gappos {__version__}"
    library.model_upload(place, folder, license_name="MIT", version_notes=notes)


HUBS = {
    "hf": Hub(
        "huggingface_hub",
        "huggingface",
        "hf://owner/name[@revision]",
        r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?",
        "`hf auth login` or HF_TOKEN",
        _download_from_hugging_face,
        _upload_to_hugging_face,
    ),
    "kaggle": Hub(
        "kagglehub",
        "kaggle",
        "kaggle://owner/model/framework/variation[/version]",
        r"([\w-]+(?:/[\w-]+){3})(?:/(\d+))?",
        "KAGGLE_API_TOKEN or ~/.kaggle/access_token",
        _download_from_kaggle,
        _upload_to_kaggle,
    ),
}
