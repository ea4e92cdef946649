"""The models that the project publishes: its registry, its files and what is said of them agree."""

import json
import pathlib
import re

import numpy as np
import pytest

from keras_gappos import zoo
from keras_gappos.experiments.catalog import publications
from keras_gappos.zoo import archive
from keras_gappos.zoo.cache import digest_of
from keras_gappos.zoo.card import format_card, format_readme
from keras_gappos.zoo.publish import LIMITS, ZOO_LIMIT

ROOT = pathlib.Path(__file__).parents[2]
MODELS = [zoo.info(name) for name in zoo.list_models()]
SMALL = ("gapnet_resnet18.digits_location_3x3_w8", "permutenet_resnet18.digits_location_3x3_w8")


@pytest.fixture(autouse=True)
def published(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_GAPPOS_ZOO", str(ROOT / "zoo"))
    monkeypatch.setenv("KERAS_GAPPOS_CACHE", str(tmp_path))


def test_every_file_is_there_and_no_larger_than_it_may_be():
    for model in MODELS:
        assert model.files.keys() == {"weights", "saved_model", "sample"}
        for kind, file in model.files.items():
            path = ROOT / "zoo" / file.path
            assert (path.stat().st_size, digest_of(path)) == (file.bytes, file.sha256), file.path
            assert file.bytes <= LIMITS.get(kind, 1_000_000)
            if kind == "saved_model":
                assert archive.unpacked_bytes(path) == file.unpacked_bytes
    assert sum(file.bytes for model in MODELS for file in model.files.values()) <= ZOO_LIMIT


def test_cards_and_readme_are_those_of_the_entries():
    for model in MODELS:
        assert (ROOT / "zoo" / model.name / "card.md").read_text() == format_card(model)
    assert (ROOT / "zoo/README.md").read_text() == format_readme(MODELS)


def test_metrics_and_commands_are_those_of_the_results():
    for model in MODELS:
        content = json.loads((ROOT / model.results).read_text())
        (fields,) = (p.fields for p in publications(content) if p.fields["key"] == model.key)
        tag = model.name.removeprefix(fields["name"])
        assert re.fullmatch("(_[a-z0-9_]+)?", tag)
        for field, value in (fields | {"name": fields["name"] + tag}).items():
            assert getattr(model, field) == value, (model.name, field)
        assert len(model.commit) == 40


_REST = [model.name for model in MODELS if model.name not in SMALL]


@pytest.mark.parametrize(
    "name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in _REST)]
)
def test_a_model_gives_its_stored_output(name):
    findings = zoo.verify(name, reload=True)
    assert findings
    assert not [finding for finding in findings if finding.is_bad], findings


def test_a_model_names_the_cell_of_a_digit():
    import keras_gappos as kg

    images, _ = kg.data.load("digits", "test", limit=9)
    info = zoo.info(SMALL[0])
    canvases = kg.layers.place_on_grid(info.preprocess(images), np.arange(9), info.grid_size)
    np.testing.assert_array_equal(
        zoo.load(SMALL[0]).predict(canvases, verbose=0).argmax(-1), np.arange(9)
    )
