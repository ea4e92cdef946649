import dataclasses
import pathlib
import shutil

import keras
import numpy as np
import pytest

from keras_gappos import zoo
from keras_gappos.zoo.cache import cached_path, fetch_file
from keras_gappos.zoo.verification import TOLERANCE, UNPACKED, find_difference
from tests.zoo.entries import add_files, entry, file_of, permutenet_entry, with_files

WAYS = ("kg.zoo.load", "tf.saved_model.load", "TFSMLayer")
TENSORFLOW = keras.backend.backend() == "tensorflow"


def states(findings, *parts):
    return [f.state for f in findings if not parts or f.part in parts]


def test_outputs_may_differ_by_a_part_of_the_largest():
    stored = np.array([[10.0, 1.0], [-20.0, 2.0]])
    shape = stored.shape
    assert find_difference(stored, stored) == ""
    assert find_difference(stored + 20 * TOLERANCE * 0.99, stored) == ""
    message = "outputs differ by up to 0.021; 0.02 is allowed"
    assert find_difference(stored + 0.021, stored) == message
    assert find_difference(stored[:1], stored) == "outputs of shape (1, 2), not (2, 2)"
    for bad in (np.nan, np.inf):
        message = "outputs that are not finite"
        assert find_difference(np.full(shape, bad), stored) == message


def test_the_top_1_must_be_the_same_unless_it_is_a_draw():
    stored = np.array([[10.0, 9.985], [10.0, 9.995], [0.0, 1.0]])
    got = stored + [[-0.009, 0.009], [-0.009, 0.009], [0.0, 0.0]]
    # Only the first sample's two best are further apart than 0.01.
    assert find_difference(got, stored) == "the top-1 of 1 of 3 differs"
    assert find_difference(got[1:], stored[1:]) == ""


def test_files_are_hashed_again(zoo_folder, register):
    model, other = add_files(zoo_folder, entry()), entry("z.digits")
    register(model, other)
    assert states(zoo.verify()) == ["not cached"] * 3
    for file in model.files.values():
        fetch_file(file)
    seen = []
    findings = zoo.verify("resnet18.digits", on_finding=seen.append)
    assert states(findings) == ["intact", "intact"] and seen == findings
    path = cached_path(model.files["weights"])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    weights, sample, elsewhere = zoo.verify()
    assert (weights.state, sample.state, elsewhere.state) == ("damaged", "intact", "not cached")
    assert "`keras-gappos zoo fetch resnet18.digits`" in weights.detail
    assert [finding.is_bad for finding in (weights, sample, elsewhere)] == [True, False, False]
    with pytest.warns(UserWarning, match="damaged"):
        zoo.fetch("resnet18.digits")
    assert states(zoo.verify("resnet18.digits")) == ["intact", "intact"]


def test_verify_fetches_and_writes_nothing(tmp_path, register):
    register(entry())
    zoo.verify()
    assert not (tmp_path / "cache").exists()


def test_an_unpacked_saved_model_is_compared_with_its_archive(zoo_folder, tmp_path, register):
    source = tmp_path / "source"
    source.mkdir()
    (source / "saved_model.pb").write_bytes(b"graph")
    (zoo_folder / "resnet18.digits").mkdir()
    archive = shutil.make_archive(str(zoo_folder / "resnet18.digits/saved_model"), "zip", source)
    file = file_of(zoo_folder, pathlib.Path(archive), unpacked_bytes=5)
    register(with_files(entry(), entry().files | {"saved_model": file}))
    parts = ("saved_model", UNPACKED)
    assert states(zoo.verify(), *parts) == ["not cached", "not cached"]
    folder = zoo.fetch("resnet18.digits", "saved_model")
    assert states(zoo.verify(), *parts) == ["intact", "intact"]
    (folder / "saved_model.pb").write_bytes(b"grape")
    assert states(zoo.verify(), *parts) == ["intact", "damaged"]
    assert "--format saved_model" in zoo.verify()[-1].detail
    cached_path(file).unlink()
    assert states(zoo.verify(), *parts) == ["not cached", "not checked"]


def test_an_unknown_name_suggests_the_nearest(register):
    register(entry())
    with pytest.raises(ValueError, match=r"Did you mean 'resnet18.digits'"):
        zoo.verify("resnet.digits")


@pytest.mark.slow
@pytest.mark.parametrize("make", [entry, permutenet_entry])
def test_a_model_and_its_saved_model_answer_as_stored(make, zoo_folder, register):
    model = add_files(zoo_folder, make(), saved_model=TENSORFLOW)
    register(model)
    findings = zoo.verify(reload=True)
    served = "same outputs" if TENSORFLOW else "skipped"
    assert states(findings, *WAYS) == ["same outputs", served, served], findings
    assert not any(finding.is_bad for finding in findings)
    assert states(zoo.verify()) == ["intact"] * len(zoo.verify())  # all was fetched


def test_other_weights_are_found_by_reloading(zoo_folder, register):
    model = add_files(zoo_folder, entry())
    other = add_files(zoo_folder, entry("other.digits"), seed=1)
    # As if the weights had been published anew, and the sample forgotten.
    stale = with_files(model, other.files | {"sample": model.files["sample"]})
    register(stale)
    reloaded = next(finding for finding in zoo.verify(reload=True) if finding.part == WAYS[0])
    assert reloaded.state == "differs" and reloaded.is_bad
    assert "outputs differ by up to" in reloaded.detail


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("make", [entry, permutenet_entry])
def test_the_saved_model_of_other_weights_is_found(make, zoo_folder, register):
    model = add_files(zoo_folder, make(), saved_model=True)
    other = add_files(zoo_folder, make("other.digits"), seed=1, saved_model=True)
    register(with_files(model, model.files | {"saved_model": other.files["saved_model"]}))
    assert states(zoo.verify(reload=True), *WAYS) == ["same outputs", "differs", "differs"]


def test_a_damaged_sample_is_reported_and_fetched_again(zoo_folder, register):
    model = add_files(zoo_folder, entry())
    register(model)
    fetch_file(model.files["sample"]).write_bytes(b"no archive")
    findings = zoo.verify(reload=True)
    assert states(findings, "sample") == ["damaged"]
    assert states(findings, WAYS[0]) == ["same outputs"]
    assert states(zoo.verify(), "sample") == ["intact"]


def test_a_model_that_cannot_be_had_does_not_keep_the_others_from_it(zoo_folder, register):
    register(entry("missing.digits"), add_files(zoo_folder, entry()))
    first, second = (f for f in zoo.verify(reload=True) if f.part == WAYS[0])
    # Names come in alphabetical order.
    assert (first.model, first.state) == ("missing.digits", "failed")
    assert (second.model, second.state) == ("resnet18.digits", "same outputs")
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.state = "intact"
