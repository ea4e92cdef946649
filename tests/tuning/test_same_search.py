import json

import pytest

from keras_gappos.tuning.same_search import check_chiefs_search, check_same_search

SEARCH = {"epochs": 3, "image_shape": (8, 8, 1)}


def test_a_search_is_recorded_once_and_compared_from_then_on(tmp_path):
    check_same_search(tmp_path / "new", SEARCH)
    path = tmp_path / "new/search.json"
    assert json.loads(path.read_text()) == {"epochs": 3, "image_shape": [8, 8, 1]}
    written = path.stat().st_mtime_ns
    check_same_search(tmp_path / "new", SEARCH)
    assert path.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match=r"another search: epochs is 3 there, 5 here\. Choose"):
        check_same_search(tmp_path / "new", {**SEARCH, "epochs": 5})
    with pytest.raises(ValueError, match="seed is as usual there, 1 here"):
        check_same_search(tmp_path / "new", {**SEARCH, "seed": 1})


def test_a_worker_reads_and_writes_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder of the chief at host:1.*the same folder"):
        check_chiefs_search(tmp_path, SEARCH, "host:1")
    assert not list(tmp_path.iterdir())
    check_same_search(tmp_path, SEARCH)
    check_chiefs_search(tmp_path, SEARCH, "host:1")
    with pytest.raises(ValueError, match=r"The chief at host:1 makes another search.*epochs is 3"):
        check_chiefs_search(tmp_path, {**SEARCH, "epochs": 5}, "host:1")
