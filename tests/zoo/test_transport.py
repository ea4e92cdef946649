import os
import time
import traceback

import pytest

from keras_gappos.zoo import registry, transport
from keras_gappos.zoo.hubs import without_secrets
from keras_gappos.zoo.sources import Source
from tests.zoo.entries import entry
from tests.zoo.serving import Server, zoo_file

CONTENT = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(transport, "_TIMEOUT", (1, 0.5))
    monkeypatch.setattr(time, "sleep", lambda _, sleep=time.sleep: sleep(0.05))  # pooch's pauses


def download(server, folder):
    path = folder / "model.weights.h5"
    transport.download(zoo_file(server.content), Source(server.url), path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("behavior", "requests"), [("good", 1), ("error_then_good", 2), ("redirect_once", 2)]
)
def test_gets_what_the_registry_says(tmp_path, behavior, requests):
    with Server(CONTENT, behavior) as server:
        assert download(server, tmp_path) == CONTENT
    assert server.requests == requests
    assert [path.name for path in tmp_path.iterdir()] == ["model.weights.h5"]


@pytest.mark.parametrize(
    ("behavior", "reason"),
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
def test_ends_in_one_clear_error_and_leaves_nothing(tmp_path, behavior, reason):
    with Server(CONTENT, behavior) as server, pytest.raises(OSError, match=reason) as caught:
        download(server, tmp_path)
    message = str(caught.value)
    assert "KERAS_GAPPOS_ZOO" in message and server.url in message and "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "_GRACE", 0)
    monkeypatch.setattr(transport, "_SLOWEST", 10 * len(CONTENT))
    started = time.monotonic()
    with Server(CONTENT, "slow") as server, pytest.raises(OSError, match="too slow"):
        download(server, tmp_path)  # it would take minutes, each byte well within the timeouts
    assert time.monotonic() - started < 20
    assert server.requests == 1  # nor is it tried again, for as long
    assert list(tmp_path.iterdir()) == []


def test_what_comes_with_a_redirect_is_not_read(tmp_path):
    with Server(CONTENT, "redirect_with_much") as server:
        assert download(server, tmp_path) == CONTENT
    assert server.sent < 50_000_000


def test_the_file_of_another_model_is_named(tmp_path, monkeypatch):
    other = zoo_file(bytes(len(CONTENT)), "other.digits/model.weights.h5")
    models = {"other.digits": entry("other.digits", files={"weights": other})}
    monkeypatch.setattr(registry, "_models", lambda: models)
    message = r"it is a file of another model, other\.digits"
    with Server(CONTENT, "wrong_bytes") as server, pytest.raises(OSError, match=message):
        download(server, tmp_path)


def test_a_password_is_not_shown(tmp_path):
    with Server(CONTENT, "error") as server:
        url = server.url.replace("://", "://user:secret@")
        with pytest.raises(OSError, match="500") as caught:
            transport.download(zoo_file(CONTENT), Source(url), tmp_path / "x.h5")
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret" not in shown and "://***@127.0.0.1:" in shown
    for url in ("https://user:p@ss@host/x", "https://token@host/x"):
        assert without_secrets(f"see {url} and a@b") == "see https://***@host/x and a@b"


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
    source, path = Source(str(tmp_path / "zoo")), tmp_path / "here.h5"
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
