import dataclasses
import functools
import json
import pathlib
import shutil
import subprocess
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_gappos import models
from keras_gappos.experiments import catalog
from keras_gappos.experiments.catalog import publications, score
from keras_gappos.experiments.location.run import Location
from keras_gappos.experiments.location.settings import LocationSettings
from keras_gappos.layers import place_on_grid
from keras_gappos.zoo import archive, fetch, load, registry, saved_model
from keras_gappos.zoo import publish as publishing
from keras_gappos.zoo.card import format_card, format_readme
from keras_gappos.zoo.loading import outputs_of

PLACE = "resnet18.digits_location_2x2_w2"
RECORDED = pathlib.Path(__file__).parents[2] / "examples/results"


def small_results(folder, recorded, network, settings, **row):
    """The results that are published with the project, as if they were of a small network."""
    content = json.loads((RECORDED / recorded / "results.json").read_text())
    content["settings"] |= {"width": 2, **settings}
    found = next(r for r in content["rows"] if "weights" in r)
    shape = list(network.input_shape[1:])
    (folder / "weights").mkdir(parents=True)
    network.save_weights(folder / "weights/small.weights.h5")
    small = {"weights": "weights/small.weights.h5", "image_shape": shape, "epochs": 1}
    content["rows"] = [found | small | row]
    (folder / "results.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A checkout with the results of four experiments."""
    root = tmp_path_factory.mktemp("checkout") / "results"
    Location(
        LocationSettings(
            dataset="digits",
            grids=(2,),
            tasks=("location",),
            networks=("gapnet",),
            width=2,
            epochs=1,
            train_images=32,
            test_images=16,
            test_passes=1,
            batch_size=16,
            output_dir=str(root / "location"),
        )
    ).run()
    digits = {"mean": [0.3], "std": [0.4], "method": "augshift"}
    settings = {"dataset": "digits", "test_images": 16, "max_shift": 1, "precision": "float32"}
    network = models.resnet(18, (8, 8, 1), 10, width=2)
    small_results(root / "invariance", "invariance/cifar10", network, settings, **digits)
    network = models.deeplabv3((64, 96, 3), 7, depth=18, width=2, output_stride=8)
    settings = {"test_images": 8, "train_images": 8}
    small_results(root / "attack", "attack/shapes", network, settings)
    settings = {"test_images": 16, "train_images": 32}
    backbone, head = (models.gapnet((24, 24, 1), outputs, width=2) for outputs in (10, 9))
    weights = {"class": "weights/small.weights.h5", "location": "weights/head.weights.h5"}
    row = {"weights": weights, "image_shape": [8, 8, 1]}
    small_results(root / "probe", "probe/digits", backbone, settings, **row)
    head.save_weights(root / "probe" / weights["location"])
    return root


@pytest.fixture(scope="module")
def published(results):
    """The zoo's folder, with all of these networks in it, and their entries."""
    zoo = results.parent / "zoo"
    entries = [
        entry
        for folder in sorted(results.iterdir())
        for entry in catalog.publish(folder, zoo, zoo, log=lambda line: None)
    ]
    return zoo, {entry.name: entry for entry in entries}


@pytest.fixture
def entries(published, monkeypatch, tmp_path):
    """The entries, where the zoo is the published one."""
    zoo, entries = published
    monkeypatch.setattr(registry, "_models", lambda: entries)
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", str(zoo))
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path))
    return entries


pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]


@pytest.mark.parametrize("name", [f"gapnet_{PLACE}", "augshift_resnet18.digits"])
def test_a_saved_model_takes_prepared_inputs_and_raw_images(name, entries):
    import tensorflow as tf

    served = tf.saved_model.load(str(fetch(name, "saved_model")))
    images = np.random.default_rng(0).integers(0, 256, (3, *entries[name].image_shape), "uint8")
    prepared, raw = entries[name].preprocess(images), [images]
    if entries[name].is_on_grid:
        raw.append(np.array([0, 3, 1], "int32"))
        prepared = keras.ops.convert_to_numpy(place_on_grid(prepared, raw[1], 2))
    expected = load(name).predict(prepared, verbose=0)
    np.testing.assert_allclose(served.serve(prepared), expected, atol=1e-4)
    np.testing.assert_allclose(served.serve_images(raw if raw[1:] else images), expected, atol=1e-4)
    assert set(served.signatures) == {"serve", "serve_images", "serving_default"}
    default = served.signatures["serving_default"].structured_input_signature[1]
    assert [spec.dtype for spec in default.values()] == [tf.float32]


def test_a_saved_model_does_not_augment(tmp_path):
    import tensorflow as tf

    model = registry.info("resnet18.cifar10")
    layers = [keras.layers.RandomFlip(seed=1), keras.layers.Dropout(0.5), keras.layers.Flatten()]
    network = keras.Sequential([keras.Input(model.image_shape), *layers])
    saved_model.export(model, network, tmp_path)
    served = tf.saved_model.load(str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (8, *model.image_shape), "uint8")
    prepared = model.preprocess(images)
    for outputs in (served.serve(prepared), served.serve_images(images)):
        np.testing.assert_allclose(outputs, prepared.reshape(8, -1), atol=1e-5)


def test_every_trained_network_gets_an_entry_and_files(published):
    zoo, entries = published
    assert set(entries) == {
        f"gapnet_{PLACE}",
        "augshift_resnet18.digits",
        "deeplabv3_resnet18.shapes_w2",
        "gapnet_resnet18.digits_class_3x3_w2",
        "gapnet_resnet18.digits_location_head_3x3_w2",
    }
    assert registry.parse_registry((zoo / "registry.json").read_text()) == entries
    for entry in entries.values():
        for file in entry.files.values():
            assert (zoo / file.path).stat().st_size == file.bytes
        assert len(entry.class_names) == load_output(entry, zoo).shape[-1]
        assert entry.results.startswith("results/")
        assert (zoo / entry.name / "card.md").read_text() == format_card(entry)
        names = {"card.md", *(file.name for file in entry.files.values())}
        assert {path.name for path in (zoo / entry.name).iterdir()} == names
    assert (zoo / "README.md").read_text() == format_readme(entries.values())
    assert entries[f"gapnet_{PLACE}"].seed == 0


def load_output(entry, zoo):
    with np.load(zoo / entry.files["sample"].path) as sample:
        return sample["outputs"]


def test_published_again_nothing_changes(published, results):
    zoo, _ = published
    before = {path: path.read_bytes() for path in zoo.rglob("*") if path.is_file()}
    catalog.publish(results / "location", zoo, zoo, log=lambda line: None)
    assert {path: path.read_bytes() for path in zoo.rglob("*") if path.is_file()} == before


def test_a_published_network_answers_as_the_trained_one(entries, results):
    entry = entries[f"gapnet_{PLACE}"]
    trained = Location.load_network(results / "location", network="gapnet")
    inputs = publishing.sample_inputs(entry, 8)
    wanted, got = (outputs_of(entry, net, inputs) for net in (trained, load(entry.name)))
    np.testing.assert_allclose(got, wanted, atol=1e-2)
    np.testing.assert_array_equal(got.argmax(-1), wanted.argmax(-1))


@pytest.mark.slow
def test_the_scores_of_a_card_are_measured_again(entries):
    for entry in entries.values():
        again = score(entry.name)
        assert again.keys() == entry.metrics.keys()
        if entry.experiment == "location":
            assert again == pytest.approx(entry.metrics)


def test_the_code_of_every_card_runs(entries):
    for entry in entries.values():
        code = format_card(entry).split("```python\n")[1].split("```")[0]
        found = {}
        exec(code, found)
        assert found["inputs"].shape[1:] == entry.input_shape


def test_saved_models_take_any_batch(entries):
    import tensorflow as tf

    from keras_gappos.zoo import fetch

    entry = entries["augshift_resnet18.digits"]
    served = tf.saved_model.load(str(fetch(entry.name, "saved_model")))
    inputs = publishing.sample_inputs(entry, 3)
    np.testing.assert_allclose(served.serve(inputs), load(entry.name)(inputs), rtol=1e-4, atol=1e-4)


def test_the_cards_tell_the_limits(published):
    _, entries = published
    cards = {name: format_card(entry) for name, entry in entries.items()}
    shuffled = dataclasses.replace(entries[f"gapnet_{PLACE}"], builder="permutenet")
    assert "random by design" in format_card(shuffled)
    assert "random by design" not in cards[f"gapnet_{PLACE}"]
    assert "CC BY 4.0" in " ".join(cards["augshift_resnet18.digits"].split())
    assert all(len(line) <= 100 for line in cards[f"gapnet_{PLACE}"].splitlines()[:8])
    real = dataclasses.replace(
        entries["augshift_resnet18.digits"], paper={"top1": 92.5}, metrics={"top1": 85.19}
    )
    assert "| top-1 accuracy | 85.19 | 92.5 |" in format_card(real)
    assert "85.2 (92.5)" in format_readme([real])


def test_float16_where_it_changes_little(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as source, h5py.File(tmp_path / "b.h5", "w") as target:
        source["layer/vars/0"] = np.float32([1 / 3, 2])
        source["layer/vars/1"] = np.int64([2**40])
        source["layer"].attrs["name"] = "x"
        publishing.copy_as_float16(source, target)
        assert target["layer/vars/0"].dtype == "float16"
        assert target["layer/vars/1"][0] == 2**40
        assert target["layer"].attrs["name"] == "x"


@pytest.mark.parametrize(
    ("small", "half", "expected"),
    [(0, 1e-2, "float16"), (0, 0.0, "float32"), (publishing._SMALL, 1e-2, "float32")],
)
def test_float16_is_for_large_weights_that_it_hardly_changes(
    entries, tmp_path, monkeypatch, small, half, expected
):
    monkeypatch.setattr(publishing, "_SMALL", small)
    monkeypatch.setattr(publishing, "_HALF", half)
    entry = entries["augshift_resnet18.digits"]
    publishing._save_weights(load(entry.name), tmp_path / "model.weights.h5", entry)
    assert [path.name for path in tmp_path.glob("*.h5")] == ["model.weights.h5"]
    with h5py.File(tmp_path / "model.weights.h5") as stored:
        kinds = set()
        stored.visititems(lambda _, item: kinds.add(str(getattr(item, "dtype", expected))))
    assert kinds == {expected}


def test_archives_of_the_same_files_are_equal(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / name
        (folder / "variables").mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"graph")
        (folder / "variables/index").write_bytes(b"index")
        archive.pack(folder, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as packed:
        assert packed.namelist() == ["saved_model.pb", "variables/index"]


def test_what_is_too_large_is_rejected_and_the_registry_kept(results, tmp_path, monkeypatch):
    monkeypatch.setitem(publishing.LIMITS, "weights", 1000)
    with pytest.raises(ValueError, match=r"at most 1,000 bytes. Received: \d+,\d+"):
        catalog.publish(results / "invariance", tmp_path, tmp_path, log=lambda line: None)
    assert not (tmp_path / "registry.json").exists()
    assert not list(tmp_path.rglob("*.h5"))


def test_a_zoo_stays_as_it_was_where_something_is_rejected(results, tmp_path, monkeypatch):
    shutil.copytree(results, tmp_path / "results")
    publish = functools.partial(
        catalog.publish, tmp_path / "results/invariance", tmp_path, tmp_path, log=lambda _: None
    )
    publish()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(publishing, "ZOO_LIMIT", 1000)
    models.resnet(18, (8, 8, 1), 10, width=2).save_weights(
        tmp_path / "results/invariance/weights/small.weights.h5"
    )
    with pytest.raises(ValueError, match="at most 1,000 bytes"):
        publish()
    changed = [path for path in before if path.read_bytes() != before[path]]
    assert [path.name for path in changed] == ["small.weights.h5"]
    assert sorted(before) == sorted(path for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_a_model_of_other_results_is_not_replaced_unasked(results, tmp_path):
    def publish(folder, **arguments):
        arguments = {"log": lambda _: None, **arguments}
        return catalog.publish(tmp_path / folder, tmp_path / "zoo", tmp_path, **arguments)

    for folder in ("one", "two"):
        shutil.copytree(results / "invariance", tmp_path / folder)
    publish("one", data_note="Of old.")
    with pytest.raises(
        ValueError, match=r"augshift_resnet18.digits.* from one/results.json: set `tag`"
    ):
        publish("two")
    (tuned,) = publish("two", tag="tuned")
    assert tuned.name == "augshift_resnet18.digits_tuned" and tuned.data_note == ""
    with pytest.raises(ValueError, match="lowercase"):
        publish("two", tag="../x")
    (replaced,) = publish("two", replace=True)
    assert (replaced.results, replaced.data_note) == ("two/results.json", "Of old.")


@pytest.mark.parametrize(
    ("dataset", "tag"),
    [
        ("cifar10:3.0.2", "cifar10"),
        ("imagenet_resized/32x32", "imagenet_resized"),
        ("/data/camvid/1.0.0", "camvid"),
        ("~/data/My Set", "my_set"),
        ("../../evil", "evil"),
    ],
)
def test_a_name_has_of_the_data_set_what_leads_nowhere(results, dataset, tag):
    content = json.loads((results / "invariance/results.json").read_text())
    content["settings"]["dataset"] = dataset
    assert publications(content)[0].name == f"augshift_resnet18.{tag}"


@pytest.mark.parametrize("committed", [True, False])
def test_a_card_names_the_commit_that_has_the_results(tmp_path, committed):
    def git(*command):
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *author, *command], cwd=tmp_path, check=True, capture_output=True)

    file = tmp_path / "results.json"
    file.write_text("{}")
    assert publishing._commit_of(file) == ""
    git("init")
    assert publishing._commit_of(file) == ""
    git("add", "results.json")
    git("commit", "-m", "results")
    if not committed:
        file.write_text("{ }")
    assert len(publishing._commit_of(file)) == (40 if committed else 0)


def test_results_that_the_zoo_does_not_take(tmp_path, results):
    with pytest.raises(FileNotFoundError):
        catalog.publish(tmp_path / "nowhere", tmp_path, tmp_path)
    content = json.loads((results / "attack/results.json").read_text())
    with pytest.raises(ValueError, match=r"results of one of .*Received: 'tune'"):
        publications({**content, "experiment": "tune"})
    given = [{**row, "epochs": 0} for row in content["rows"] if "weights" in row]
    with pytest.raises(ValueError, match="trained there"):
        publications({**content, "rows": given})


def test_other_backends_say_what_to_set(monkeypatch, results, tmp_path):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="set KERAS_BACKEND=tensorflow"):
        catalog.publish(results / "location", tmp_path, pathlib.Path(tmp_path))
