"""Where the zoo's files come from."""

import dataclasses
import importlib.metadata
import ipaddress
import os
import pathlib
import re
import stat
import urllib.parse

from keras_gappos.zoo.model import ZooFile

SOURCE_VARIABLE = "KERAS_GAPPOS_ZOO"
_URL_LABEL = "Zoo"  # of the Project-URL in the package's metadata


@dataclasses.dataclass(frozen=True)
class Source:
    """A folder or URL that holds the zoo's files.

    Attributes:
        place: the folder's path, or the URL with a trailing slash.
        is_url: whether `place` is a URL.
    """

    place: str
    is_url: bool

    @property
    def shown(self) -> str:
        """The place for messages, without the password of a URL."""
        return without_password(self.place) if self.is_url else self.place

    def location_of(self, file: ZooFile) -> str:
        """The path or URL of a file in this place."""
        if self.is_url:
            return self.place + urllib.parse.quote(file.path)
        return str(pathlib.Path(self.place) / file.path)


def find_source() -> Source:
    """The first of: `KERAS_GAPPOS_ZOO`, the checkout's `zoo` folder, the URL in the metadata.

    Raises:
        ValueError: for a URL that is neither https nor http on this machine.
        OSError: if there is none.
    """
    return choose_source(os.environ.get(SOURCE_VARIABLE), checkout_folder(), _metadata_url())


def choose_source(named: str | None, checkout: pathlib.Path | None, url: str | None) -> Source:
    """Picks the first source that is given; see `find_source`.

    Args:
        named: folder or URL set by the user.
        checkout: the checkout's folder of files.
        url: the URL in the package's metadata.
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
        f"The zoo's files have no known source: set {SOURCE_VARIABLE} to a folder or URL that "
        "holds them, such as the zoo/ folder of a checkout."
    )


def check_url(url: str) -> str:
    """Returns the URL if it is https, or http on this machine.

    Raises:
        ValueError: for any other URL.
    """
    if not _may_be_fetched(url):
        # Show the rest: the part before an @ may be the reason.
        url = re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", url)
        raise ValueError(
            f"The zoo's URL, such as that in {SOURCE_VARIABLE}, must be https, or http on this "
            f"machine, such as http://127.0.0.1:8000/. Received: {url}"
        )
    return url


def _may_be_fetched(url):
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    if "\\" in url or not parts.hostname:  # libraries differ on the host of "http://a\@b/"
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname))


def _is_loopback(host):
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def without_password(text: str) -> str:
    """The text with passwords and tokens in URLs replaced by `***`."""
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


def checkout_folder() -> pathlib.Path | None:
    """The `zoo` folder if the package runs in a checkout, else `None`."""
    root = pathlib.Path(__file__).parents[2]
    is_checkout = (root / "setup.cfg").is_file() and (root / "zoo" / "README.md").is_file()
    return root / "zoo" if is_checkout else None


def _metadata_url():
    try:
        urls = importlib.metadata.metadata("keras-gappos").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    labeled = dict(line.split(", ", 1) for line in urls if ", " in line)
    return labeled.get(_URL_LABEL)
