"""SavedModels that are made on this machine, because no source has them."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_gappos import zoo
from keras_gappos.zoo import ZooFile, saved_model
from keras_gappos.zoo.cache import cached_path, fetch_file, made_archive_path
from tests.zoo.entries import add_files, entry, with_files
from tests.zoo.serving import Server

NAME = "resnet18.digits"


@pytest.fixture
def model(zoo_folder, register):
    """A registered model whose SavedModel is missing in the zoo's folder."""
    model = add_files(zoo_folder, entry())
    missing = ZooFile(f"{NAME}/saved_model.zip", 3, "a" * 64, 3)
    model = with_files(model, model.files | {"saved_model": missing})
    register(model)
    return model


@pytest.fixture
def quick_export(monkeypatch):
    """Exports of one small file, which do not take seconds."""

    def export(model, network, folder):
        folder.mkdir()
        (folder / "saved_model.pb").write_bytes(b"graph")

    monkeypatch.setattr(saved_model, "export", export)


def made(model):
    with pytest.warns(UserWarning, match=r"saved_model\.zip is not at hand, and is made here from"):
        return zoo.fetch(NAME, "saved_model")


@pytest.mark.slow
@pytest.mark.tensorflow
def test_a_made_one_answers_as_the_network_and_is_made_once(model, recwarn):
    import tensorflow as tf

    folder = made(model)
    served = tf.saved_model.load(str(folder))
    images = np.random.default_rng(0).integers(0, 256, (3, *model.image_shape), "uint8")
    expected = zoo.load(NAME).predict(model.preprocess(images), verbose=0)
    np.testing.assert_allclose(served.serve(model.preprocess(images)), expected, atol=1e-4)
    np.testing.assert_allclose(served.serve_images(images), expected, atol=1e-4)
    recwarn.clear()
    assert zoo.fetch(NAME, "saved_model") == folder and not recwarn.list
    assert {path.name for path in folder.parent.iterdir()} == {
        "model.weights.h5",
        "saved_model",
        "saved_model.zip",
    }


@pytest.mark.tensorflow
def test_damage_to_a_made_one_is_found_and_mended(model, quick_export):
    folder = made(model)
    parts = {"saved_model": "intact", zoo.verification.UNPACKED: "intact"}

    def states():
        return {f.part: f.state for f in zoo.verify(NAME) if f.part in parts}

    assert states() == parts
    (folder / "saved_model.pb").write_bytes(b"damage")
    assert states() == parts | {zoo.verification.UNPACKED: "damaged"}
    with pytest.warns(UserWarning, match="unpacked again"):
        zoo.fetch(NAME, "saved_model")
    assert (folder / "saved_model.pb").read_bytes() == b"graph"
    made_archive_path(model).write_bytes(b"damage")
    assert states()["saved_model"] == "damaged"
    made(model)
    assert states() == parts


@pytest.mark.tensorflow
def test_weights_that_differ_make_none(model, zoo_folder):
    fetch_file(model.files["weights"]).unlink()
    (zoo_folder / NAME / "model.weights.h5").write_bytes(b"other")
    with pytest.raises(OSError, match=r"Could not fetch resnet18\.digits/model\.weights\.h5"):
        zoo.fetch(NAME, "saved_model")
    assert not made_archive_path(model).exists()


def test_one_that_is_at_hand_but_differs_is_an_error(model, zoo_folder):
    (zoo_folder / NAME / "saved_model.zip").write_bytes(b"other")
    with pytest.raises(OSError, match=r"Could not fetch resnet18\.digits/saved_model\.zip.*bytes"):
        zoo.fetch(NAME, "saved_model")


@pytest.mark.tensorflow
def test_an_export_that_fails_leaves_nothing(model, monkeypatch):
    def fail(*_):
        raise RuntimeError("as the export does")

    monkeypatch.setattr(saved_model, "export", fail)
    with pytest.raises(RuntimeError, match="as the export"), pytest.warns(UserWarning):
        zoo.fetch(NAME, "saved_model")
    assert [path.name for path in made_archive_path(model).parent.iterdir()] == ["model.weights.h5"]


def test_a_url_without_it_is_told_from_one_that_fails(model, monkeypatch):
    """A server that answers 404 lacks it, one that answers 500 is an error."""
    fetch_file(model.files["weights"])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr("time.sleep", lambda _: None)  # pooch's pauses
    for behavior, error, message in (
        ("missing", ValueError, r"set KERAS_BACKEND=tensorflow, after pip install .*jax"),
        ("error", OSError, "500"),
    ):
        with Server(b"", behavior) as server:
            monkeypatch.setenv("KERAS_GAPPOS_ZOO", server.url)
            with pytest.raises(error, match=message):
                zoo.fetch(NAME, "saved_model")


def test_a_fetched_one_is_preferred(model, zoo_folder, register):
    """As long as the archive of the registry is in the cache."""
    source = zoo_folder / "source"
    source.mkdir()
    (source / "saved_model.pb").write_bytes(b"fetched")
    path = zoo_folder / model.files["saved_model"].path
    zoo.archive.pack(source, path)
    fetched = dataclasses.replace(
        model.files["saved_model"],
        bytes=path.stat().st_size,
        sha256=zoo.cache.digest_of(path),
        unpacked_bytes=7,
    )
    register(with_files(model, model.files | {"saved_model": fetched}))
    folder = zoo.fetch(NAME, "saved_model")
    fetch_file(model.files["weights"])
    zoo.archive.pack(source, made_archive_path(model))
    assert folder == zoo.fetch(NAME, "saved_model") == cached_path(fetched).with_suffix("")
