import contextlib
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import filelock
import pytest

from keras_gappos.zoo import cache, registry
from keras_gappos.zoo.model import ZooFile
from tests.zoo.serving import Server, zoo_file

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextlib.contextmanager
def serving(monkeypatch, behavior="good", content=CONTENT):
    with Server(content, behavior) as server:
        monkeypatch.setenv("KERAS_GAPPOS_ZOO", server.url)
        yield server


def files_in(folder):
    """What lies in a cache, but for locks."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in paths if path.suffix != ".lock")


def test_fetches_once(monkeypatch, folder):
    with serving(monkeypatch) as server:
        path = cache.fetch_file(zoo_file(CONTENT))
        assert path == cache.fetch_file(zoo_file(CONTENT))
    assert path.read_bytes() == CONTENT and path.is_relative_to(folder)
    assert server.requests == 1


def test_offline(monkeypatch):
    with serving(monkeypatch):
        path = cache.fetch_file(zoo_file(CONTENT))
    assert cache.fetch_file(zoo_file(CONTENT)) == path  # the server is gone
    with pytest.raises(OSError, match="Set KERAS_GAPPOS_ZOO"):
        cache.fetch_file(zoo_file(b"other"))


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_file_is_found_and_fetched_again(monkeypatch, damage):
    with serving(monkeypatch) as server:
        path = cache.fetch_file(zoo_file(CONTENT))
        path.write_bytes(damage)
        with pytest.warns(UserWarning, match="damaged"):
            assert cache.fetch_file(zoo_file(CONTENT)).read_bytes() == CONTENT
    assert server.requests == 2


def put_file(path):
    path.write_bytes(b"file")


def put_folder(path):
    (path / "folder").mkdir(parents=True)


def put_link(path):
    path.symlink_to(path.parent.parent)


def put_broken_link(path):
    path.symlink_to("nowhere")


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("put", [put_folder, put_link, put_broken_link])
def test_what_else_lies_in_a_files_place_is_replaced(monkeypatch, put):
    path = cache.cached_path(zoo_file(CONTENT))
    path.parent.mkdir(parents=True)
    put(path)
    with serving(monkeypatch):
        assert cache.fetch_file(zoo_file(CONTENT)).read_bytes() == CONTENT
    assert path.is_file() and not path.is_symlink()


def test_versions_of_a_file_lie_side_by_side(monkeypatch):
    paths = []
    for content in (b"old", b"new"):
        with serving(monkeypatch, content=content):
            paths.append(cache.fetch_file(zoo_file(content)))
    assert [path.read_bytes() for path in paths] == [b"old", b"new"]


def test_what_a_killed_process_has_left_is_removed(monkeypatch, folder):
    path = cache.cached_path(zoo_file(CONTENT))
    path.parent.mkdir(parents=True)
    (path.parent / "tmpabc").write_bytes(b"half")
    (path.parent / ".unpackingabc").mkdir()
    with serving(monkeypatch):
        cache.fetch_file(zoo_file(CONTENT))
    assert files_in(folder) == ["model.weights.h5"]
    assert not (path.parent / ".unpackingabc").exists()


FETCH_IN_MANY = """
import json, os, sys
from keras_gappos.zoo import ZooFile, cache

file, processes = ZooFile(**json.loads(sys.argv[1])), int(sys.argv[2])
children = []
for _ in range(processes):
    children.append(os.fork())  # imports take seconds, and are done
    if children[-1] == 0:
        os.write(1, cache.fetch_file(file).read_bytes()[:4].hex().encode() + b"\\n")
        os._exit(0)
print(children[0], file=sys.stderr, flush=True)
sys.exit(sum(os.waitpid(child, 0)[1] for child in children) != 0)
"""


def start(file, processes):
    argument = json.dumps({"path": file.path, "bytes": file.bytes, "sha256": file.sha256})
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FETCH_IN_MANY, argument, str(processes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_eight_processes_download_once(monkeypatch):
    with serving(monkeypatch) as server:
        process = start(zoo_file(CONTENT), 8)
        out, errors = process.communicate(timeout=200)
    assert out.split() == ["00010203"] * 8, errors
    assert process.returncode == 0 and server.requests == 1


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_killed_in_the_middle(monkeypatch, folder):
    with serving(monkeypatch, "slow") as server:
        process = start(zoo_file(CONTENT), 1)
        while not (line := process.stderr.readline().strip()).isdigit():
            assert line, "it ended"  # other lines are warnings of libraries
        deadline = time.monotonic() + 60
        while not files_in(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(int(line), signal.SIGKILL)
        process.communicate()
        assert files_in(folder) not in ([], ["model.weights.h5"])  # it has left a part
        server.behavior = "good"
        assert cache.fetch_file(zoo_file(CONTENT)).read_bytes() == CONTENT
    assert files_in(folder) == ["model.weights.h5"]


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "file"))
    with serving(monkeypatch) as server, pytest.raises(OSError, match="Set KERAS_GAPPOS_CACHE"):
        cache.fetch_file(zoo_file(CONTENT))
    assert server.requests == 0


@pytest.mark.skipif(not pathlib.Path("/proc/self").exists(), reason="has no such file system")
def test_a_cache_where_no_folder_can_be_made(monkeypatch):
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", "/proc/zoo")
    with serving(monkeypatch), pytest.raises(OSError, match="Set KERAS_GAPPOS_CACHE"):
        cache.fetch_file(zoo_file(CONTENT))


def test_a_cache_that_is_a_circle_of_links(monkeypatch, tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "circle"))
    with serving(monkeypatch), pytest.raises(OSError, match="Set KERAS_GAPPOS_CACHE"):
        cache.fetch_file(zoo_file(CONTENT))


@pytest.fixture
def small_disk(monkeypatch, tmp_path):
    """The cache on a disk of 64 KiB."""
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a file system")
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(small))
    yield small
    subprocess.run(["umount", str(small)], check=True)


FULL = r"No space left.*KERAS_GAPPOS_CACHE"


def test_a_full_disk(monkeypatch, small_disk):
    with serving(monkeypatch), pytest.raises(OSError, match=FULL):
        cache.fetch_file(zoo_file(CONTENT))
    assert files_in(small_disk) == []


def archive_of(files):
    """A zip archive of files, a dictionary from name to bytes, and its `ZooFile`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    content = stream.getvalue()
    file = zoo_file(content, "net.digits/saved_model.zip")
    unpacked_bytes = sum(map(len, files.values()))
    return content, ZooFile(file.path, file.bytes, file.sha256, unpacked_bytes)


def register(monkeypatch, file):
    """Makes a model with this SavedModel the only one of the registry."""

    class Model:
        files = {"weights": zoo_file(b"weights"), "saved_model": file}

    monkeypatch.setattr(registry, "_models", lambda: {"net.digits": Model})


@pytest.fixture
def saved_model(monkeypatch):
    """A registry of one model, whose SavedModel is an archive of two files; the archive."""
    files = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
    content, file = archive_of(files)
    register(monkeypatch, file)
    return content


def test_a_saved_model_is_a_folder(monkeypatch, folder, saved_model):
    with serving(monkeypatch, content=saved_model) as server:
        path = cache.fetch("net.digits", format="saved_model")
        assert path == cache.fetch("net.digits", "saved_model")
        assert (path / "variables" / "variables.index").read_bytes() == b"index"
        (path / "saved_model.pb").write_bytes(b"other")
        with pytest.warns(UserWarning, match="damaged"):
            cache.fetch("net.digits", "saved_model")
    assert (path / "saved_model.pb").read_bytes() == b"graph"
    assert server.requests == 1


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("put", [put_file, put_link, put_broken_link])
def test_what_else_lies_in_a_folders_place_is_replaced(monkeypatch, saved_model, put):
    with serving(monkeypatch, content=saved_model):
        path = cache.fetch("net.digits", "saved_model")
        shutil.rmtree(path)
        put(path)
        assert (cache.fetch("net.digits", "saved_model") / "saved_model.pb").is_file()
    assert path.is_dir() and not path.is_symlink()


def test_a_disk_that_is_full_while_unpacking(monkeypatch, small_disk):
    content, file = archive_of({"a": bytes(9000), "b": bytes(90_000)})
    register(monkeypatch, file)
    with serving(monkeypatch, content=content), pytest.raises(OSError, match=FULL):
        cache.fetch("net.digits", "saved_model")
    assert files_in(small_disk) == ["saved_model.zip"]


KILLED_WHILE_UNPACKING = """
import json, os, signal, sys, zipfile
from keras_gappos.zoo import ZooFile, cache

class Model:
    files = {kind: ZooFile(**json.loads(sys.argv[1])) for kind in ("weights", "saved_model")}

def extract_one_and_die(archive, member, path, extract=zipfile.ZipFile.extract):
    extract(archive, member, path)
    os.kill(os.getpid(), signal.SIGKILL)

cache.info = lambda name: Model
zipfile.ZipFile.extract = extract_one_and_die
cache.fetch("net.digits", "saved_model")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="has no such signal")
def test_a_process_killed_in_the_middle_of_unpacking(monkeypatch, folder, saved_model):
    file = registry.info("net.digits").files["saved_model"]
    with serving(monkeypatch, content=saved_model) as server:
        done = subprocess.run(
            [sys.executable, "-c", KILLED_WHILE_UNPACKING, json.dumps(dataclasses.asdict(file))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert files_in(folder) == ["saved_model.pb", "saved_model.zip"]  # it has left a part
        path = cache.fetch("net.digits", "saved_model")
    assert (path / "variables" / "variables.index").read_bytes() == b"index"
    assert files_in(folder) == ["saved_model.pb", "saved_model.zip", "variables.index"]
    assert server.requests == 1


def test_a_cache_without_the_right_to_write(monkeypatch, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "sealed").mkdir(mode=0o500)
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "sealed"))
    with serving(monkeypatch), pytest.raises(OSError, match=r"denied.*KERAS_GAPPOS_CACHE"):
        cache.fetch_file(zoo_file(CONTENT))


def test_a_process_that_never_ends_is_not_waited_for_without_a_word(monkeypatch):
    monkeypatch.setattr(cache, "_QUIET", 0.05)
    monkeypatch.setattr(cache, "longest_time", lambda file: 0.3)
    file = zoo_file(CONTENT)
    path = cache.cached_path(file)
    path.parent.mkdir(parents=True)
    with serving(monkeypatch) as server:
        lock = filelock.FileLock(path.parent.with_name(f"{path.parent.name}.lock"))
        said = pytest.warns(UserWarning, match=r"is fetching net\.digits; waiting")
        with lock, said, pytest.raises(OSError, match=r"Another process .*\.lock\. Try again"):
            cache.fetch_file(file)
        assert server.requests == 0
        assert cache.fetch_file(file).read_bytes() == CONTENT


def test_an_error_of_the_source_is_not_taken_for_one_of_the_cache(monkeypatch, tmp_path):
    for source in ("x" * 300, tmp_path / "nowhere"):
        monkeypatch.setenv("KERAS_GAPPOS_ZOO", str(source))
        with pytest.raises(OSError, match=r"^`KERAS_GAPPOS_ZOO` must be a folder or a URL"):
            cache.fetch_file(zoo_file(CONTENT))


def test_bad_input(saved_model):
    with pytest.raises(ValueError, match=r"Did you mean 'net.digits'"):
        cache.fetch("net.digit")
    with pytest.raises(ValueError, match=r"`format`.*onnx"):
        cache.fetch("net.digits", "onnx")
    for name in ("../net.digits", "/etc/passwd", "net.digits/../x"):
        with pytest.raises(ValueError, match="must be a model of the zoo"):
            cache.fetch(name)


def test_the_platforms_cache_folder(monkeypatch):
    monkeypatch.delenv("KERAS_GAPPOS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert cache.cache_folder() == pathlib.Path("/somewhere/keras-gappos/zoo")
