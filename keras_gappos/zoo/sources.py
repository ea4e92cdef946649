"""Where the zoo's files come from."""

import dataclasses
import importlib.metadata
import importlib.util
import ipaddress
import os
import pathlib
import re
import stat
import urllib.parse

from keras_gappos.zoo.hubs import is_address, parse_address, without_secrets
from keras_gappos.zoo.model import ZooFile

SOURCE_VARIABLE = "KERAS_GAPPOS_ZOO"
ZOO_VERSION = "0.1.0"  # of the zoo package that holds the registry's files
_PACKAGE, _MODULE = "keras-gappos-zoo", "keras_gappos_zoo"
_URL_LABEL = "Zoo"  # of the Project-URL in the package's metadata
_NO_SOURCE = f"""\
The zoo's files have no known source. Each of these gives one:
- pip install {_PACKAGE}, or in a checkout: pip install ./zoo
- run the package in a checkout, whose zoo/ has the files
- set {SOURCE_VARIABLE} to a folder or a https://, hf:// or kaggle:// address"""


@dataclasses.dataclass(frozen=True)
class Source:
    """A place that holds the zoo's files.

    Attributes:
        place: a folder's path, a URL with a trailing slash, or an address of `hubs`.
        remedy: what to do if a file there is missing or differs, in a sentence.
    """

    place: str
    remedy: str = f"Set {SOURCE_VARIABLE} to another folder or address that holds the zoo's files."

    @property
    def kind(self) -> str:
        """`"folder"`, or the scheme: `"https"`, `"http"`, `"hf"` or `"kaggle"`."""
        scheme, separator, _ = self.place.partition("://")
        return scheme if separator else "folder"

    @property
    def is_url(self) -> bool:
        """Whether the files are fetched from a server by their URLs."""
        return self.kind in ("http", "https")

    @property
    def shown(self) -> str:
        """The place for messages, without the password of a URL."""
        return without_secrets(self.place) if self.is_url else self.place

    def location_of(self, file: ZooFile) -> str:
        """The path or URL of a file in this place; for a hub, a name for messages."""
        if self.is_url:
            return self.place + urllib.parse.quote(file.path)
        if self.kind != "folder":
            return f"{self.place}/{file.path}"
        return str(pathlib.Path(self.place) / file.path)


def find_source() -> Source:
    """Where the zoo's files are.

    The first of: `KERAS_GAPPOS_ZOO`, the checkout's `zoo` folder, the installed package
    `keras-gappos-zoo`, the URL in this package's metadata.

    Raises:
        ValueError: for a URL that is none of https, http on this machine, and those of `hubs`.
        FileNotFoundError: if there is none.
    """
    return choose_source(
        os.environ.get(SOURCE_VARIABLE), checkout_folder(), _installed_package(), _metadata_url()
    )


def choose_source(
    named: str | None, checkout: pathlib.Path | None, package: Source | None, url: str | None
) -> Source:
    """Picks the first source that is given; see `find_source`.

    Args:
        named: folder, URL or address of `hubs`, set by the user.
        checkout: the checkout's folder of files.
        package: the installed zoo package.
        url: the URL in the package's metadata.
    """
    if named and is_address(named):
        parse_address(named)
        return Source(named.rstrip("/"))
    if named:
        return Source(_checked_url(named) if "://" in named else str(_checked_folder(named)))
    if checkout is not None:
        return Source(str(checkout))
    if package is not None:
        return package
    if url is not None:
        return Source(_checked_url(url))
    raise FileNotFoundError(_NO_SOURCE)


def check_url(url: str) -> str:
    """Returns the URL if it is https, or http on this machine.

    Raises:
        ValueError: for any other URL.
    """
    if not _may_be_fetched(url):
        # Show the rest: the part before an @ may be the reason.
        url = re.sub(r"(://[^/\s:@]*):[^/\s]*@", r"\1:***@", url)
        raise ValueError(
            f"The zoo's URL, such as that in {SOURCE_VARIABLE}, must be https, hf, kaggle, or http "
            f"on this machine, such as http://127.0.0.1:8000/. Received: {url}"
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


def _installed_package():
    """The source that is the installed zoo package, else `None`."""
    try:
        version = importlib.metadata.version(_PACKAGE)
        spec = importlib.util.find_spec(_MODULE)
    except ModuleNotFoundError:
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Source(
        next(iter(spec.submodule_search_locations)),
        f"{_PACKAGE} {version} is installed; the matching one is {ZOO_VERSION}: "
        f"pip install --force-reinstall {_PACKAGE}=={ZOO_VERSION}",
    )


def _metadata_url():
    try:
        urls = importlib.metadata.metadata("keras-gappos").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    labeled = dict(line.split(", ", 1) for line in urls if ", " in line)
    return labeled.get(_URL_LABEL)
