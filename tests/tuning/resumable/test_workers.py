import sys
import types

import pytest

from keras_gappos.tuning.resumable.role import Role
from keras_gappos.tuning.resumable.workers import LocalWorkers, environments, find_gpus

ROLE = Role("chief", "127.0.0.1", 1)


class FakeOracle(types.SimpleNamespace):
    """Ends a trial with every third worker that is lost with it."""

    def __init__(self):
        super().__init__(
            end_order=[], ongoing_trials={"worker0": 1}, fatal_error=None, is_done=False
        )
        self.reasons = []

    def lose_worker(self, name, reason):
        self.reasons.append(reason)
        if len(self.reasons) % 3 == 0:
            self.end_order.append(str(len(self.reasons)))


def deaths(oracle, count, folder):
    """Looks after one worker, which dies each time, until it has died so often."""
    broken = [sys.executable, "-c", "raise SystemExit('no such data set')"]
    with LocalWorkers(1, broken, ROLE, folder, oracle) as workers:
        while len(oracle.reasons) < count:
            workers._processes["worker0"].wait(60)
            workers.poll()


def test_trials_that_kill_their_workers_do_not_use_up_a_worker(tmp_path):
    oracle = FakeOracle()
    deaths(oracle, 7, tmp_path)
    assert oracle.reasons[0].startswith("worker0 ended with exit status 1, and ")
    assert oracle.reasons[0].endswith("ends with: no such data set")
    oracle = FakeOracle()
    oracle.end_order = ()  # none ends
    oracle.lose_worker = lambda name, reason: oracle.reasons.append(reason)
    with pytest.raises(OSError, match=r"and trials remain\. worker0 ended"):
        deaths(oracle, 7, tmp_path)
    assert len(oracle.reasons) == 3


def test_a_signal_is_named(tmp_path):
    oracle = FakeOracle()
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with LocalWorkers(1, killed, ROLE, tmp_path, oracle) as workers:
        workers._processes["worker0"].wait(60)
        workers.poll()
    assert oracle.reasons == ["worker0 ended with signal 9 (Killed)"]


def test_each_worker_has_a_gpu_in_turn_and_leaves_memory_to_the_others():
    found = environments(3, {"HOME": "/root", "OMP_NUM_THREADS": "7"}, ["0", "1"])
    assert list(found) == ["worker0", "worker1", "worker2"]
    assert [found[name]["CUDA_VISIBLE_DEVICES"] for name in found] == ["0", "1", "0"]
    assert found["worker2"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert found["worker2"]["HOME"] == "/root"
    assert found["worker2"]["OMP_NUM_THREADS"] == "7"  # what the user has set
    for gpus in ([], ["0"]):
        assert "CUDA_VISIBLE_DEVICES" not in environments(1, {}, gpus)["worker0"]


def test_workers_whose_trials_want_all_gpus_are_given_none_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    shared, whole = (
        LocalWorkers(2, [], ROLE, tmp_path, FakeOracle(), gpus)._environments["worker1"]
        for gpus in (None, [])
    )
    assert shared["CUDA_VISIBLE_DEVICES"] == "1"
    assert whole["CUDA_VISIBLE_DEVICES"] == "0,1"


def test_gpus_are_found_by_their_device_files_unless_the_user_names_them(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert find_gpus({}, tmp_path) == ["0", "1"]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": "GPU-ab,3"}, tmp_path) == ["GPU-ab", "3"]
    assert find_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    assert find_gpus({}, tmp_path / "nowhere") == []
    (tmp_path / "nvidia0").unlink()  # as in a container that has one of several
    assert find_gpus({}, tmp_path) == ["0"]
