import pathlib

import pytest

import keras_gappos
from keras_gappos.zoo import sources
from keras_gappos.zoo.cache import fetch_file
from keras_gappos.zoo.sources import Source, check_url, choose_source
from tests.zoo.serving import zoo_file


def test_the_first_place_that_is_there(tmp_path):
    url, package = "https://zoo.example/models", Source("package")
    assert choose_source(str(tmp_path), "checkout", package, url) == Source(str(tmp_path))
    assert choose_source(url, "checkout", package, None) == Source(f"{url}/")
    assert choose_source(None, "checkout", package, url) == Source("checkout")
    assert choose_source(None, None, package, url) == package
    assert choose_source("", None, None, url) == Source(f"{url}/")


def test_without_a_place_the_error_names_each_way_in_a_line():
    with pytest.raises(FileNotFoundError) as error:
        choose_source(None, None, None, None)
    _, *ways = str(error.value).splitlines()
    for way, word in zip(ways, ("pip install", "checkout", "KERAS_GAPPOS_ZOO"), strict=True):
        assert word in way and len(way) < 80


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"KERAS_GAPPOS_ZOO.*nowhere"):
        choose_source(str(tmp_path / "nowhere"), None, None, None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The folder of an installed zoo package, of another version, outside a checkout."""
    metadata = tmp_path / "keras_gappos_zoo-0.0.1.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: keras-gappos-zoo\nVersion: 0.0.1\n")
    folder = tmp_path / "keras_gappos_zoo"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sources, "checkout_folder", lambda: None)
    monkeypatch.delenv("KERAS_GAPPOS_ZOO", raising=False)
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    return folder


def test_the_installed_package_is_found(package):
    file = zoo_file(b"weights")
    assert sources.find_source().place == str(package)
    (package / file.path).parent.mkdir()
    (package / file.path).write_bytes(b"weights")
    assert fetch_file(file).read_bytes() == b"weights"


@pytest.mark.parametrize("content", [b"other weights", None])
def test_a_package_of_another_version_names_the_matching_one(package, content):
    file = zoo_file(b"weights")
    if content is not None:
        (package / file.path).parent.mkdir()
        (package / file.path).write_bytes(content)
    needed = rf"keras-gappos-zoo 0\.0\.1 is installed; .*keras-gappos-zoo=={sources.ZOO_VERSION}$"
    with pytest.raises(OSError, match=needed):
        fetch_file(file)


def test_metadata_of_a_package_that_is_gone(package):
    package.rmdir()
    assert sources._installed_package() is None


def test_the_matching_package_is_that_of_the_checkout():
    text = (pathlib.Path(__file__).parents[2] / "zoo/pyproject.toml").read_text()
    assert f'version = "{sources.ZOO_VERSION}"' in text


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
    assert Source("https://h/").location_of(zoo_file(b"", "a b/c")) == "https://h/a%20b/c"


def test_this_checkout_is_a_source(monkeypatch):
    monkeypatch.delenv("KERAS_GAPPOS_ZOO", raising=False)
    root = pathlib.Path(keras_gappos.__file__).parents[1]
    if not (root / "setup.cfg").exists():
        pytest.skip("the package is installed elsewhere")
    assert sources.find_source() == Source(str(root / "zoo"))


def test_the_url_of_the_metadata(monkeypatch):
    class Metadata:
        def get_all(self, _):
            return ["Source, https://h/source", "Zoo, https://h/zoo"]

    monkeypatch.setattr(sources.importlib.metadata, "metadata", lambda _: Metadata())
    assert sources._metadata_url() == "https://h/zoo"
