import pathlib

import pytest

import keras_gappos
from keras_gappos.zoo import sources
from keras_gappos.zoo.sources import Source, check_url, choose_source
from tests.zoo.serving import zoo_file


def test_the_first_place_that_is_there(tmp_path):
    url = "https://zoo.example/models"
    assert choose_source(str(tmp_path), "checkout", url) == Source(str(tmp_path), False)
    assert choose_source(url, "checkout", None) == Source(f"{url}/", True)
    assert choose_source(None, "checkout", url) == Source("checkout", False)
    assert choose_source("", None, url) == Source(f"{url}/", True)
    with pytest.raises(OSError, match="set KERAS_GAPPOS_ZOO to a folder"):
        choose_source(None, None, None)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"KERAS_GAPPOS_ZOO.*nowhere"):
        choose_source(str(tmp_path / "nowhere"), None, None)


@pytest.mark.parametrize("url", ["https://h/", "http://127.0.0.1:80/", "http://localhost/zoo"])
def test_urls_to_fetch_from(url):
    assert check_url(url) == url


BAD_URLS = [
    "http://example.org/",
    "http://127.0.0.1.example.org/",
    "http://127.0.0.1@example.org/",
    "http://example.org\\@127.0.0.1/",
    "http://[::1",
    "ftp://h/",
    "file:///zoo",
    "https:///x",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_other_urls_are_rejected(url):
    with pytest.raises(ValueError, match=r"KERAS_GAPPOS_ZOO, must be https.*Received: ") as error:
        check_url(url)
    assert str(error.value).endswith(url)


def test_the_password_in_a_rejected_url_is_not_shown():
    with pytest.raises(ValueError, match=r"Received: http://user:\*\*\*@example\.org/$"):
        check_url("http://user:p@ss@example.org/")


def test_a_path_is_quoted_in_a_url():
    assert Source("https://h/", True).location_of(zoo_file(b"", "a b/c")) == "https://h/a%20b/c"


def test_this_checkout_is_a_source(monkeypatch):
    monkeypatch.delenv("KERAS_GAPPOS_ZOO", raising=False)
    root = pathlib.Path(keras_gappos.__file__).parents[1]
    if not (root / "setup.cfg").exists():
        pytest.skip("the package is installed elsewhere")
    assert sources.find_source() == Source(str(root / "zoo"), False)


def test_the_url_of_the_metadata(monkeypatch):
    class Metadata:
        def get_all(self, _):
            return ["Source, https://h/source", "Zoo, https://h/zoo"]

    monkeypatch.setattr(sources.importlib.metadata, "metadata", lambda _: Metadata())
    assert sources._metadata_url() == "https://h/zoo"
