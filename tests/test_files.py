import io

import h5py
import keras
import numpy as np
import pytest

from keras_gappos.files import check_same_run, is_full, weights_in_memory, write_bytes

RUN = {"epochs": 3, "image_shape": (8, 8, 1)}
RECORDED = {"epochs": 3, "image_shape": [8, 8, 1]}  # as JSON returns it


def test_the_folder_of_another_run_is_rejected_with_the_difference():
    check_same_run(RECORDED, RUN, "`directory` holds another search")
    with pytest.raises(
        ValueError, match=r"holds another search: epochs is 3 there, 5 here\. Choose another folder"
    ):
        check_same_run(RECORDED, {**RUN, "epochs": 5}, "`directory` holds another search")
    with pytest.raises(ValueError, match="seed is not set there, 1 here"):
        check_same_run(RECORDED, {**RUN, "seed": 1}, "")
    with pytest.raises(ValueError, match="epochs is not set there, 3 here"):
        check_same_run("damaged", RUN, "")


def test_without_room_the_old_file_stays_and_nothing_else(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "file"
    write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match=r"No room to write .*file\. Free some") as raised:
            write_bytes(path, b"new" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert is_full(raised.value)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_in_memory_are_the_file_that_keras_writes(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    model.compile("adam", "mse")
    content = weights_in_memory(model)
    model.save_weights(tmp_path / "keras.weights.h5")
    found = []
    for file in (io.BytesIO(content.getvalue()), tmp_path / "keras.weights.h5"):
        with h5py.File(file) as opened:
            names = []
            opened.visit(names.append)
            found.append({n: opened[n][()] for n in names if isinstance(opened[n], h5py.Dataset)})
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(found[0][name], found[1][name]) for name in found[0])
    write_bytes(tmp_path / "ours.weights.h5", content.getbuffer())
    model.load_weights(tmp_path / "ours.weights.h5")
