"""The zoo as a package, built from its source and read by a keras_gappos outside the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import keras_gappos
from keras_gappos import zoo
from keras_gappos.zoo.cache import digest_of

ROOT = pathlib.Path(__file__).parents[2]
SIZE_LIMIT = 100_000_000  # bytes of a file, the usual limit of a package index

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""

USE = """
import pathlib, socket

def refuse(*_):
    raise AssertionError("it went to the network")

socket.socket.connect = refuse
import keras_gappos as kg
from keras_gappos.experiments import catalog

for name in kg.zoo.list_models():
    kg.zoo.fetch(name)
small = "gapnet_resnet18.digits_location_3x3_w8"
print(kg.zoo.load(small).output_shape, catalog.score(small) == kg.zoo.info(small).metrics)
print({finding.state for finding in kg.zoo.verify(small, reload=True) if finding.is_bad})
print(pathlib.Path(kg.__file__).parents[1])
"""


def build(kind, source, folder):
    """Builds a distribution of a source folder; its path."""
    folder.mkdir()
    command = [sys.executable, "-c", BUILD, f"build_{kind}", str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_package_has_the_models_of_the_registry():
    with_card = {path.parent.name for path in (ROOT / "zoo").glob("*/card.md")}
    assert with_card == set(zoo.list_models())
    assert (ROOT / "zoo/LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.slow
def test_an_installed_package_gives_every_model_offline(tmp_path):
    pytest.importorskip("setuptools", "77")
    ignore = shutil.ignore_patterns("*.zip", "build", "*.egg-info")
    shutil.copytree(ROOT / "zoo", tmp_path / "zoo", ignore=ignore)
    packed = build("sdist", tmp_path / "zoo", tmp_path / "sdist")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    wheel = build("wheel", tmp_path / packed.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert packed.stat().st_size < SIZE_LIMIT and wheel.stat().st_size < SIZE_LIMIT
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    models = [zoo.info(name) for name in zoo.list_models()]
    files = [model.files[kind] for model in models for kind in ("weights", "sample")]
    for file in files:
        assert digest_of(site / "keras_gappos_zoo" / file.path) == file.sha256
    cards = {f"{model.name}/card.md" for model in models}
    there = (path for path in (site / "keras_gappos_zoo").rglob("*") if path.is_file())
    names = {path.relative_to(site / "keras_gappos_zoo").as_posix() for path in there}
    assert names == cards | {file.path for file in files}

    package = pathlib.Path(keras_gappos.__file__).parent
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_GAPPOS_ZOO"}
    environment |= {"PYTHONPATH": str(site), "KERAS_GAPPOS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=site, env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-3:] == ["(None, 9) True", "set()", str(site)], done.stderr
