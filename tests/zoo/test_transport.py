import os
import time

import pytest

from keras_gappos.zoo import transport
from keras_gappos.zoo.sources import Source
from tests.zoo.serving import Server, zoo_file

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transport, "_TIMEOUT", (1, 0.5))
    monkeypatch.setattr(time, "sleep", lambda _, sleep=time.sleep: sleep(0.05))  # pooch's pauses


def download(server, folder):
    path = folder / "model.weights.h5"
    transport.download(zoo_file(server.content), Source(server.url, True), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("behaviour", "requests"), [("good", 1), ("error_then_good", 2), ("redirect_once", 2)]
)
def test_gets_what_the_registry_says(tmp_path, behaviour, requests):
    with Server(CONTENT, behaviour) as server:
        assert download(server, tmp_path) == CONTENT
    assert server.requests == requests
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("cut", "IncompleteRead|bytes"),
        ("wrong_bytes", "SHA-256"),
        ("too_long", "more than the 10,240 bytes"),
        ("error", "500"),
        ("redirect_for_ever", "redirects"),
        ("other_scheme", "another scheme, https://"),
        ("other_host", r"must be https.*Received: http://192\.0\.2\.1/elsewhere"),
        ("hang", "timed out"),
    ],
)
def test_ends_in_one_clear_error_and_leaves_nothing(tmp_path, behaviour, reason):
    with Server(CONTENT, behaviour) as server, pytest.raises(OSError, match=reason) as caught:
        download(server, tmp_path)
    message = str(caught.value)
    assert "KERAS_GAPPOS_ZOO" in message and server.url in message and "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "_GRACE", 0)
    monkeypatch.setattr(transport, "_SLOWEST", 10 * len(CONTENT))
    started = time.monotonic()
    with Server(CONTENT, "slow") as server, pytest.raises(OSError, match="too slowly"):
        download(server, tmp_path)  # it would take minutes, each byte well within the timeouts
    assert time.monotonic() - started < 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="has no such modes")
def test_other_users_of_a_shared_cache_may_read_it(tmp_path):
    with Server(CONTENT) as server:
        download(server, tmp_path)
    assert (tmp_path / "model.weights.h5").stat().st_mode & 0o777 == 0o644


def test_nobody_there(tmp_path):
    with Server(CONTENT) as server:
        pass
    with pytest.raises(OSError, match="KERAS_GAPPOS_ZOO"):
        download(server, tmp_path)


def test_copies_from_a_folder(tmp_path):
    file = zoo_file(CONTENT)
    there = tmp_path / "zoo" / file.path
    there.parent.mkdir(parents=True)
    there.write_bytes(CONTENT)
    source, path = Source(str(tmp_path / "zoo"), False), tmp_path / "here.h5"
    transport.download(file, source, path)
    assert path.read_bytes() == CONTENT
    path.unlink()
    there.write_bytes(CONTENT[:-1])
    with pytest.raises(OSError, match="10,239 bytes, not 10,240"):
        transport.download(file, source, path)
    there.unlink()
    with pytest.raises(OSError, match="No such file"):
        transport.download(file, source, path)
    assert not path.exists()
