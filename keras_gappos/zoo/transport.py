"""Downloads or copies one file; it appears only when complete and verified."""

import contextlib
import hashlib
import os
import pathlib
import queue
import sys
import tempfile
import threading
import time
import urllib.parse

from keras_gappos.analysis.progress import make_bar
from keras_gappos.files import is_full
from keras_gappos.zoo import hubs
from keras_gappos.zoo.model import ZooFile
from keras_gappos.zoo.registry import owner_of
from keras_gappos.zoo.sources import Source, check_url

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
        FileNotFoundError: if the source does not have it.
        OSError: if it cannot be fetched after retries, differs from the registry, or the disk is
            full; nothing is left behind.
    """
    import pooch

    transports = {"folder": _from_folder, "https": _from_url, "http": _from_url}
    transport = transports.get(source.kind, _from_hub)
    pooch.get_logger().setLevel("WARNING")
    fetcher = pooch.create(
        path.parent,
        base_url="",
        registry={path.name: f"sha256:{file.sha256}"},
        urls={path.name: source.location_of(file)},
        retry_if_failed=_RETRIES if source.is_url else 0,
    )
    try:
        fetcher.fetch(path.name, downloader=lambda _, target, __: transport(source, target, file))
    except (ValueError, OSError) as error:  # errors of requests are OSErrors
        if is_full(error):
            raise  # about the target, not the source
        # The traceback of the cause may show a password.
        cause = error if source.shown == source.place else None
        kind = FileNotFoundError if _is_missing(error) else OSError
        raise kind(
            f"Could not fetch {file.path} from {source.shown}: {_reason(error)}. {source.remedy}"
        ) from cause


def _is_missing(error):
    """Whether an error says that the source does not have the file."""
    response = getattr(error, "response", None)
    return isinstance(error, FileNotFoundError) or getattr(response, "status_code", None) == 404


def _from_folder(source, target, file):
    _copy(source.location_of(file), target, file)


def _copy(path, target, file):
    with open(path, "rb") as source, _CheckedFile(target, file) as checked:
        while piece := source.read(_PIECE):
            checked.write(piece)


def _from_hub(source, target, file):
    folder = tempfile.TemporaryDirectory(
        prefix="tmp", dir=pathlib.Path(target).parent, ignore_cleanup_errors=True
    )
    with folder as there, contextlib.redirect_stdout(sys.stderr):  # the libraries print

        def fetch():
            return hubs.download(source.place, file.path, there)

        _copy(_run_in_time(fetch, _time_for(file), lambda: None), target, file)


def _from_url(source, target, file):
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
            fetch(source.location_of(file), checked, None)

    _run_in_time(work, _time_for(file), checked.close)


def longest_time(file: ZooFile) -> float:
    """The maximum duration of `download`, in seconds."""
    return (1 + _RETRIES) * _time_for(file)


def _time_for(file):
    return _GRACE + file.bytes / _SLOWEST


def _run_in_time(work, seconds, give_up):
    """The result of a function, which is aborted after some seconds.

    Socket timeouts do not stop a server that sends a byte now and then.
    """
    outcome = queue.SimpleQueue()

    def run():
        try:
            outcome.put((work(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except queue.Empty:
        give_up()
        # Not a ValueError: pooch would retry.
        raise TimeoutError(f"it is too slow: more than {seconds:,.0f} seconds") from None
    except BaseException:  # Ctrl-C
        give_up()
        raise
    if error is not None:
        raise error
    return result


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
    return hubs.without_secrets(" ".join(text.split()))
