"""Hugging Face and Kaggle, by their own client libraries, which talk to servers on this machine."""

import sys
import traceback

import pytest

from keras_gappos.cli import main as cli
from keras_gappos.zoo import hubs, registry, transport
from keras_gappos.zoo.cache import fetch_file
from keras_gappos.zoo.sources import Source, choose_source
from keras_gappos.zoo.upload import upload
from tests.zoo.entries import entry, file_of
from tests.zoo.hub_serving import HuggingFace, Kaggle
from tests.zoo.serving import zoo_file

TOKEN = "hub_secret"
ADDRESSES = {"hf": "hf://me/zoo", "kaggle": "kaggle://me/zoo/keras/all"}


@pytest.fixture
def hub(request, monkeypatch, tmp_path):
    """A running stand-in, to which the client library is signed in."""
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", ADDRESSES[request.param])
    pytest.importorskip(hubs.HUBS[request.param].library)
    if request.param == "hf":
        server = HuggingFace(TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        from kagglesdk import kaggle_env

        server = Kaggle(TOKEN)
        local = kaggle_env.KaggleEnv.LOCAL
        monkeypatch.setitem(kaggle_env._env_to_endpoint, local, server.url)
        monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
        monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    with server:
        yield server


both = pytest.mark.parametrize("hub", list(ADDRESSES), indirect=True)


def address_of(hub):
    return ADDRESSES["hf" if isinstance(hub, HuggingFace) else "kaggle"]


def make_zoo(folder, register, count, suffix=""):
    """A registry of some models, and a folder with a file of each kind for each."""
    models = []
    for name in (f"net{i}.digits" for i in range(count)):
        (folder / name).mkdir(parents=True)
        (folder / name / "card.md").write_text(name)
        files = {}
        for kind in ("weights", "saved_model", "sample"):
            path = folder / name / kind
            path.write_bytes(f"{kind} of {name}{suffix}".encode())
            files[kind] = file_of(folder, path)
        models.append(entry(name, files=files))
    (folder / "README.md").write_text("# Models")
    register(*models)
    return models


@both
@pytest.mark.parametrize(
    "count",
    [1, pytest.param(20, marks=pytest.mark.slow)],  # Kaggle's library packs more than 50 files
)
def test_what_is_published_can_be_fetched(hub, tmp_path, register, capsys, count):
    zoo, address = tmp_path / "zoo", address_of(hub)
    models = make_zoo(zoo, register, count)
    assert cli.main(["zoo", "publish", address, "--zoo-dir", str(zoo)]) == 0
    assert capsys.readouterr().out == f"{4 * count + 1} files uploaded to {address}\n"
    (uploaded,) = hub.files.values()
    assert uploaded == {
        path.relative_to(zoo).as_posix(): path.read_bytes()
        for path in zoo.rglob("*")
        if path.is_file()
    }
    for file in models[-1].files.values():
        assert fetch_file(file).read_bytes() == (zoo / file.path).read_bytes()
    assert cli.main(["zoo", "fetch", models[0].name]) == 0
    assert capsys.readouterr().out == f"{fetch_file(models[0].files['weights'])}\n"
    names = {path.name for path in (tmp_path / "cache").rglob("*")}
    assert not [name for name in names if name.startswith((".", "tmp"))]


@both
def test_versions_lie_side_by_side(hub, tmp_path, register, monkeypatch):
    address = address_of(hub)
    is_hf = isinstance(hub, HuggingFace)
    targets, places = (
        ([address, f"{address}@next"], ["@main", "@next"])
        if is_hf
        else ([address, address], ["/1", "/2"])
    )
    for place, target in zip(places, targets, strict=True):
        make_zoo(tmp_path / place[1:], register, 1, place)
        upload(target, tmp_path / place[1:])
    for place in places:
        monkeypatch.setenv("KERAS_GAPPOS_ZOO", address + place)
        content = f"weights of net0.digits{place}".encode()
        assert fetch_file(zoo_file(content, "net0.digits/weights")).read_bytes() == content


def put(hub, file, content):
    version = "main" if isinstance(hub, HuggingFace) else "1"
    hub.files[address_of(hub).partition("://")[2], version] = {file.path: content}


@both
@pytest.mark.parametrize(
    ("flaw", "error", "reason"),
    [
        ("missing file", FileNotFoundError, r"not there \(404\); if it is private, sign in with"),
        ("missing place", FileNotFoundError, r"not there \(404\)"),
        ("wrong digest", OSError, "its SHA-256 digest is not the registry's"),
        ("wrong token", OSError, r"no access \(401\): sign in with .*TOKEN"),
        ("no rights", OSError, r"no access \(403\): sign in with .*TOKEN"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(hub, tmp_path, flaw, error, reason):
    file = zoo_file(b"weights")
    if flaw != "missing place":
        put(hub, file, b"WEIGHTS" if flaw == "wrong digest" else b"weights")
    if flaw == "missing file":
        file = zoo_file(b"weights", "net.digits/other.h5")
    elif flaw == "wrong token":
        hub.token = "another"
    elif flaw == "no rights":
        hub.status = 403
    with pytest.raises(error, match=f"from {address_of(hub)}.*: {reason}") as caught:
        fetch_file(file)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown and "signature" not in shown and "\n" not in str(caught.value)
    assert "Set KERAS_GAPPOS_ZOO to another" in str(caught.value)
    assert not files_in(tmp_path / "cache")


def files_in(cache):
    """What lies in a cache, but for locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("hub", ["kaggle"], indirect=True)  # the other library has timeouts
def test_a_library_that_waits_for_ever_is_given_up(hub, tmp_path, monkeypatch):
    hub.hangs = True
    monkeypatch.setattr(transport, "_GRACE", 0.5)
    with pytest.raises(OSError, match="it is too slow"):
        fetch_file(zoo_file(b"weights"))
    assert not files_in(tmp_path / "cache")


@both
@pytest.mark.parametrize("flaw", ["missing", "damaged", "wrong token", "no rights"])
def test_what_cannot_be_published(hub, tmp_path, register, capsys, flaw):
    (model,) = make_zoo(tmp_path / "zoo", register, 1)
    path = tmp_path / "zoo" / model.files["sample"].path
    if flaw == "missing":
        path.unlink()
    elif flaw == "damaged":
        path.write_bytes(b"other")
    elif flaw == "wrong token":
        hub.token = "another"
    else:
        hub.status = 403
    assert cli.main(["zoo", "publish", address_of(hub), "--zoo-dir", str(tmp_path / "zoo")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    if flaw in ("missing", "damaged"):
        assert model.files["sample"].path in error and error.endswith("Nothing was uploaded.")
        assert not hub.requests
    else:
        assert f"Could not upload the zoo to {address_of(hub)}: no access (40" in error
        assert TOKEN not in error
    assert not any(hub.files.values())


@pytest.mark.parametrize(("scheme", "extra"), [("hf", "huggingface"), ("kaggle", "kaggle")])
def test_a_library_that_is_missing_names_its_extra(monkeypatch, tmp_path, scheme, extra):
    monkeypatch.setitem(sys.modules, hubs.HUBS[scheme].library, None)
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path))
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", ADDRESSES[scheme])
    with pytest.raises(ImportError, match=rf"{scheme}:// needs .*'keras-gappos\[{extra}\]'"):
        fetch_file(zoo_file(b"weights"))


@pytest.mark.parametrize(
    "address",
    [
        "hf://name",
        "hf://owner/name/more",
        "hf://owner/name@",
        "hf://",
        "kaggle://owner/model",
        "kaggle://owner/model/keras/all/latest",
        "kaggle://owner/model/keras/all/1/2",
    ],
)
def test_addresses_that_do_not_parse(address):
    with pytest.raises(ValueError, match=r"must be hf://owner/name.* or kaggle://.*Received: "):
        choose_source(address, None, None, None)


@pytest.mark.parametrize("address", ["hf://me:secret@me/zoo", "kaggle://me/zoo?token=secret"])
def test_a_token_in_an_address_is_not_shown(address):
    with pytest.raises(ValueError, match=r"Received: (hf|kaggle)://.*[*]{3}") as error:
        choose_source(address, None, None, None)
    assert "secret" not in str(error.value)


def test_addresses_that_parse():
    for address in ("hf://me/my.zoo", "hf://me/zoo@refs/pr/1", "kaggle://me/zoo/keras/all/12"):
        assert choose_source(address + "/", None, None, None) == Source(address)


def test_kaggle_numbers_the_versions_itself(tmp_path):
    with pytest.raises(ValueError, match=r"`target` must have no version.*Received: kaggle://.*/3"):
        upload("kaggle://me/zoo/keras/all/3", tmp_path)


def test_help_says_how_to_sign_in(capsys):
    with pytest.raises(SystemExit):
        cli.main(["zoo", "publish", "--help"])
    out = capsys.readouterr().out
    assert "hf auth login" in out and "KAGGLE_API_TOKEN" in out and "KERAS_GAPPOS_ZOO" in out
    assert registry.list_models()
