"""Downloads or copies one file; it appears only when complete and verified."""

import hashlib
import os
import pathlib
import queue
import threading
import time
import urllib.parse

from keras_gappos.analysis.progress import make_bar
from keras_gappos.files import is_full
from keras_gappos.zoo.model import ZooFile
from keras_gappos.zoo.registry import owner_of
from keras_gappos.zoo.sources import SOURCE_VARIABLE, Source, check_url, without_password

_RETRIES = 2
_TIMEOUT = (10, 20)  # seconds to connect, and to wait for the next piece
_GRACE, _SLOWEST = 60, 20_000  # seconds, and bytes per second: slower downloads are aborted
_PIECE = 1 << 16  # bytes
_PROGRESS_FROM = 1 << 20  # bytes; smaller files need no progress bar


def download(file: ZooFile, source: Source, path: pathlib.Path) -> None:
    """Downloads or copies a file to `path` and verifies its size and digest.

    Args:
        file: a `ZooFile`.
        source: a `Source`.
        path: the target, in an existing folder.

    Raises:
        OSError: if it cannot be fetched after retries, differs from the registry, or the disk is
            full; nothing is left behind.
    """
    import pooch

    location = source.location_of(file)
    transport = _from_url if source.is_url else _from_folder
    pooch.get_logger().setLevel("WARNING")
    fetcher = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: f"sha256:{file.sha256}"},
        urls={path.name: location},
        retry_if_failed=_RETRIES if source.is_url else 0,
    )
    try:
        fetcher.fetch(path.name, downloader=lambda url, target, _: transport(url, target, file))
    except (ValueError, OSError) as error:  # errors of requests are OSErrors
        if is_full(error):
            raise  # about the target, not the source
        # The traceback of the cause may show a password.
        cause = error if source.shown == source.place else None
        raise OSError(
            f"Could not fetch {file.path} from {source.shown}: {_reason(error)}. Set "
            f"{SOURCE_VARIABLE} to another folder or URL that holds the zoo's files."
        ) from cause


def _from_folder(location, target, file):
    with open(location, "rb") as source, _CheckedFile(target, file) as checked:
        while piece := source.read(_PIECE):
            checked.write(piece)


def _from_url(url, target, file):
    import pooch

    bar = make_bar(
        total=file.bytes,
        desc=file.path,
        unit="B",
        unit_scale=True,
        disable=True if file.bytes < _PROGRESS_FROM else None,
    )
    fetch = pooch.HTTPDownloader(
        progressbar=bar,
        chunk_size=_PIECE,
        timeout=_TIMEOUT,
        hooks={"response": _check_redirect},
    )

    checked = _CheckedFile(target, file)

    def work():
        with bar, checked:
            fetch(url, checked, None)

    _run_in_time(work, _time_for(file), checked.close)


def longest_time(file: ZooFile) -> float:
    """The maximum duration of `download`, in seconds."""
    return (1 + _RETRIES) * _time_for(file)


def _time_for(file):
    return _GRACE + file.bytes / _SLOWEST


def _run_in_time(work, seconds, give_up):
    """Runs a function, and aborts it after some seconds.

    Socket timeouts do not stop a server that sends a byte now and then.
    """
    outcome = queue.SimpleQueue()

    def run():
        try:
            outcome.put(work())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        give_up()
        # Not a ValueError: pooch would retry.
        raise TimeoutError(f"it is too slow: more than {seconds:,.0f} seconds") from None
    except BaseException:  # Ctrl-C
        give_up()
        raise
    if error is not None:
        raise error


def _check_redirect(response, **_):
    """Checks a redirect before it is followed."""
    if response.is_redirect:
        old, new = response.url, urllib.parse.urljoin(response.url, response.headers["location"])
        if urllib.parse.urlsplit(old).scheme != urllib.parse.urlsplit(new).scheme:
            raise ValueError(f"redirected to another scheme, {new}")
        check_url(new)
        response.close()  # or requests would read the body, whatever its size


class _CheckedFile:
    """A file being written, whose size and digest are verified.

    Args:
        path: where to write.
        file: the expected `ZooFile`.
    """

    def __init__(self, path, file):
        self._path, self._file = pathlib.Path(path), file
        self._digest, self._bytes = hashlib.sha256(), 0
        self._deadline = time.monotonic() + _time_for(file)
        self._stream = None

    def __enter__(self):
        self._stream = self._path.open("wb")
        return self

    def write(self, piece):
        self._bytes += len(piece)
        if self._bytes > self._file.bytes:
            raise ValueError(f"it has more than the {self._file.bytes:,} bytes of the registry")
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"it is too slow: {self._bytes:,} of {self._file.bytes:,} bytes")
        self._digest.update(piece)
        self._stream.write(piece)

    def flush(self):
        self._stream.flush()

    def close(self):
        """Stops writing, so that the file can be removed."""
        if self._stream is not None:
            self._stream.close()

    def __exit__(self, kind, error, trace):
        if kind is None:
            self._stream.flush()
            os.fsync(self._stream.fileno())
            os.chmod(self._path, 0o644)  # readable for others who share the cache
        self._stream.close()
        if kind is not None:
            return
        digest = self._digest.hexdigest()
        if digest == self._file.sha256:
            return
        owner = owner_of(digest)
        if owner is not None:
            is_other = owner != self._file.path.split("/")[0]
            whose = f"a file of another model, {owner}" if is_other else "another of its files"
            raise ValueError(f"it is {whose}")
        if self._bytes != self._file.bytes:
            raise ValueError(f"it has {self._bytes:,} bytes, not {self._file.bytes:,}")
        raise ValueError("its SHA-256 digest is not the registry's")


def _reason(error):
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_password(" ".join(text.split()))
