"""The cache of the zoo's files: verified, complete, and fetched once."""

import contextlib
import hashlib
import os
import pathlib
import shutil
import warnings

from keras_gappos.zoo import archive
from keras_gappos.zoo.model import ZooFile, ZooModel
from keras_gappos.zoo.registry import info
from keras_gappos.zoo.sources import find_source
from keras_gappos.zoo.transport import download, longest_time

CACHE_VARIABLE = "KERAS_GAPPOS_CACHE"
FORMATS = ("weights", "saved_model")
_QUIET = 5.0  # seconds to wait for another process before saying so


def cache_folder() -> pathlib.Path:
    """Where the zoo's files are kept: `KERAS_GAPPOS_CACHE`, or the platform's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return pathlib.Path(named).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("keras-gappos", appauthor=False) / "zoo"


def fetch(name: str, format: str = "weights") -> pathlib.Path:
    """Returns the path of a pretrained model's files, fetching them if they are not cached.

    Files come from the first of: `KERAS_GAPPOS_ZOO`, the `zoo` folder of a checkout, the installed
    package `keras-gappos-zoo`, the URL in this package's metadata. `KERAS_GAPPOS_ZOO` is a folder,
    a URL, `hf://owner/name[@revision]` (needs `keras-gappos[huggingface]`) or
    `kaggle://owner/model/framework/variation[/version]` (needs `keras-gappos[kaggle]`).

    Size and SHA-256 are verified each time; a damaged file is fetched again. Concurrent processes
    fetch it once. A SavedModel that is not there is made on this machine from the verified weights,
    with a warning that says so.

    Args:
        name: a model's name; see `list_models`.
        format: `"weights"`, a `.weights.h5` file, or `"saved_model"`, a folder for
            `tf.saved_model.load`, `keras.layers.TFSMLayer` and TensorFlow Serving.

    Returns:
        A `pathlib.Path`. The files are shared: do not change them.

    Raises:
        ValueError: for an unknown name or format, or a SavedModel that must be made while the
            backend is not TensorFlow.
        ImportError: if the client library of Hugging Face or Kaggle is missing.
        OSError: if the files cannot be fetched, or the cache is not writable.

    Examples:
        >>> keras_gappos.zoo.fetch("gapnet_resnet18.digits_location_3x3_w8").name
        'model.weights.h5'
    """
    model = info(name)
    if format not in FORMATS:
        raise ValueError(f"`format` must be one of {FORMATS}. Received: format={format!r}")
    if format == "weights":
        return fetch_file(model.files["weights"])
    path = _fetch_archive(model)
    folder = path.with_suffix("")
    if archive.matches(path, folder):
        return folder
    file = model.files["saved_model"]
    is_made = path == made_archive_path(model)
    limit = archive.unpacked_bytes(path) if is_made else file.unpacked_bytes or 0
    with _writing(path.parent, longest_time(file)):
        if not archive.matches(path, folder):  # another process may have done it
            if os.path.lexists(folder):
                _say(f"{folder} is damaged, and is unpacked again.")
                _remove(folder)
            archive.extract(path, folder, limit)
    return folder


def _fetch_archive(model):
    """The path of a SavedModel's archive, which is made if no source has it."""
    from keras_gappos.zoo import saved_model  # needs this module itself

    file, made = model.files["saved_model"], made_archive_path(model)
    if archive.is_whole(made):
        return cached_path(file) if is_intact(cached_path(file), file) else made
    try:
        return fetch_file(file)
    except FileNotFoundError:  # neither in the cache nor in the source
        weights = fetch_file(model.files["weights"])
    saved_model.check_backend()
    with _writing(made.parent, longest_time(file)):
        if not archive.is_whole(made):  # another process may have done it
            _say(f"{file.path} is not at hand, and is made here from the verified weights.")
            saved_model.make_archive(model, weights, made)
    return made


def fetch_file(file: ZooFile) -> pathlib.Path:
    """Returns the path of one file, fetching it if it is not cached; raises like `fetch`."""
    path = cached_path(file)
    if is_intact(path, file):
        return path
    source = find_source()
    with _writing(path.parent, longest_time(file)):
        if not is_intact(path, file):  # another process may have done it
            if os.path.lexists(path):
                _say(f"{path} is damaged, and is fetched again.")
                _remove(path)
            download(file, source, path)
    return path


def cached_path(file: ZooFile) -> pathlib.Path:
    """Where the cache keeps a file; the digest in the path keeps versions apart."""
    return cache_folder() / file.path.split("/")[0] / file.sha256[:16] / file.name


def made_archive_path(model: ZooModel) -> pathlib.Path:
    """Where the cache keeps the archive of a SavedModel that was made on this machine."""
    return cached_path(model.files["weights"]).with_name("saved_model.zip")


def is_intact(path: pathlib.Path, file: ZooFile) -> bool:
    """Whether `path` has the size and SHA-256 digest of `file`."""
    try:
        if path.stat().st_size != file.bytes:
            return False
        return digest_of(path) == file.sha256
    except OSError:  # missing or unreadable
        return False


def digest_of(path: str | pathlib.Path) -> str:
    """The SHA-256 digest of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(folder, patience):
    """Holds a folder's lock, waiting up to `patience` seconds for another process."""
    import filelock

    lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        try:
            lock.acquire(timeout=min(_QUIET, patience))
        except filelock.Timeout:
            _say(f"Another process is fetching {folder.parent.name}; waiting for it.")
            lock.acquire(timeout=patience)
    except filelock.Timeout as error:
        raise OSError(
            f"Another process has been fetching {folder.parent.name} for more than {patience:,.0f} "
            f"seconds: it has locked {lock.lock_file}. Try again when it has ended."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _writing(folder, patience):
    """Locks a folder of the cache and removes leftovers first."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, patience):
            _remove_leftovers(folder)
            yield
    except OSError as error:
        if error.errno is None:  # an error of the source
            raise
        raise OSError(
            error.errno,
            f"The zoo's cache {cache_folder()} cannot be written ({os.strerror(error.errno)}). Set "
            f"{CACHE_VARIABLE} to a folder that can, with enough room",
        ) from error


def _remove_leftovers(folder):
    """Removes the incomplete files and folders of killed processes."""
    for path in folder.iterdir():
        if path.name.startswith(("tmp", archive.UNFINISHED)):
            _remove(path)


def _remove(path):
    """Removes a file, a link, or a folder and its contents."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _say(text):
    warnings.warn(text, stacklevel=4)
