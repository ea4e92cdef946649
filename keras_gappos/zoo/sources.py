"""Where the zoo's files come from."""

import dataclasses
import importlib.metadata
import ipaddress
import os
import pathlib
import re
import stat
import urllib.parse

import keras_gappos

SOURCE_VARIABLE = "KERAS_GAPPOS_ZOO"
_URL_LABEL = "Zoo"  # of the Project-URL in the package's metadata


@dataclasses.dataclass(frozen=True)
class Source:
    """A place of the zoo's files: a folder, or a URL that ends in a slash.

    Attributes:
        place: the folder's path, or the URL.
        is_url: which of the two it is.
    """

    place: str
    is_url: bool

    @property
    def shown(self):
        """The place as messages have it: a password in a URL is for the server alone."""
        return without_password(self.place) if self.is_url else self.place

    def location_of(self, file):
        """The path or URL of a `ZooFile` there."""
        if self.is_url:
            return self.place + urllib.parse.quote(file.path)
        return str(pathlib.Path(self.place) / file.path)


def find_source() -> Source:
    """Decides where files come from.

    In this order: what `KERAS_GAPPOS_ZOO` names, the `zoo` folder of the checkout that this
    package runs in, the URL in the package's metadata.

    Returns:
        A `Source`.

    Raises:
        ValueError: for a URL that is neither https nor http on this machine.
        OSError: if there is none.
    """
    return choose_source(os.environ.get(SOURCE_VARIABLE), checkout_folder(), _metadata_url())


def choose_source(named, checkout, url) -> Source:
    """The first of three places that is there; see `find_source`.

    Args:
        named: folder or URL that the user has named, or `None`.
        checkout: folder of the checkout's files, or `None`.
        url: the package's own URL, or `None`.
    """
    if named:
        if "://" in named:
            return Source(_checked_url(named), True)
        return Source(str(_checked_folder(named)), False)
    if checkout is not None:
        return Source(str(checkout), False)
    if url is not None:
        return Source(_checked_url(url), True)
    raise OSError(
        f"Nothing says where the zoo's files are: set {SOURCE_VARIABLE} to a folder that holds "
        "them or to its URL, such as the zoo/ folder of a checkout."
    )


def check_url(url):
    """Returns a URL, if it is one to fetch from: https, or http on this very machine.

    Args:
        url: the URL.

    Raises:
        ValueError: for any other.
    """
    if not _may_be_fetched(url):
        # The rest is shown: what stands before an @ may be why it is refused.
        url = re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", url)
        raise ValueError(
            f"The zoo's URL, such as that in {SOURCE_VARIABLE}, must be https; http is for this "
            f"very machine alone, such as http://127.0.0.1:8000/. Received: {url}"
        )
    return url


def _may_be_fetched(url):
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    if "\\" in url or not parts.hostname:  # of "http://a\@b/" some libraries ask a, others b
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def without_password(text) -> str:
    """A text without the passwords and tokens of the URLs in it."""
    return re.sub(r"://[^/\s]*@", "://***@", text)


def _checked_folder(named):
    folder = pathlib.Path(named).expanduser()
    try:
        if not stat.S_ISDIR(folder.stat().st_mode):
            raise NotADirectoryError(None, "Not a directory")
    except OSError as error:
        raise type(error)(
            f"`{SOURCE_VARIABLE}` must be a folder or a URL. Received: {named} ({error.strerror})"
        ) from error
    return folder


def _checked_url(url):
    return check_url(url).rstrip("/") + "/"


def checkout_folder():
    """The `zoo` folder of the checkout that this package runs in, or `None`."""
    root = pathlib.Path(keras_gappos.__file__).parents[1]
    is_checkout = (root / "setup.cfg").is_file() and (root / "zoo" / "README.md").is_file()
    return root / "zoo" if is_checkout else None


def _metadata_url():
    try:
        urls = importlib.metadata.metadata("keras-gappos").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    labelled = dict(line.split(", ", 1) for line in urls if ", " in line)
    return labelled.get(_URL_LABEL)
