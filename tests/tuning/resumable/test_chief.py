import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import pytest
from keras_tuner.src.protos import get_service

from keras_gappos.tuning.resumable.chief import (
    connect,
    free_port,
    heartbeat,
    serve,
    wait_for_chief,
)
from keras_gappos.tuning.resumable.role import Role, find_role
from keras_gappos.tuning.resumable.workers import LocalWorkers
from tests.tuning.toy_search import toy_tuner

ROOT = pathlib.Path(__file__).parents[3]
WAIT = 120  # seconds that a process may take on a busy machine


def command(folder, seconds, kind="random", trials=6, patience=3.0):
    script = str(pathlib.Path(__file__).parents[1] / "toy_search.py")
    return [sys.executable, script, *map(str, (folder, seconds, kind, trials, patience))]


class Processes:
    """The processes of one search, of which none outlives a test."""

    def __init__(self, folder, seconds, **arguments):
        self._command, self._port, self.folder = command(folder, seconds, **arguments), 0, folder
        self._running = []

    def __enter__(self):
        self._port = free_port()
        return self

    def __exit__(self, *_):
        for process in self._running:
            process.kill()
            process.communicate()

    def start(self, name):
        role = Role(name, "127.0.0.1", self._port)
        environment = {**os.environ, **role.environment, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            self._command, env=environment, stderr=subprocess.PIPE, text=True
        )
        self._running.append(process)
        return process

    def wait_until(self, condition):
        start = time.monotonic()
        while not condition(states(self.folder)):
            assert time.monotonic() - start < WAIT, states(self.folder)
            time.sleep(0.05)


def states(folder):
    """The status of each trial that is on disk, by its id."""
    found = {}
    for path in sorted(folder.glob("trial_*/trial.json")):
        trial = json.loads(path.read_text())
        found[trial["trial_id"]] = trial["status"]
    return found


def oracle_state(folder):
    return json.loads((folder / "oracle.json").read_text())


def check_all_done(folder, trials=6):
    assert len(states(folder)) == trials
    assert set(states(folder).values()) <= {"COMPLETED", "FAILED"}
    ended = oracle_state(folder)["end_order"]
    assert sorted(ended) == sorted(states(folder))  # each once


@pytest.mark.slow
def test_two_workers_make_each_trial_once_and_a_killed_ones_trial_is_made_again(tmp_path):
    with Processes(tmp_path / "search", 1.0) as processes:
        chief = processes.start("chief")
        first, second = (processes.start(name) for name in ("worker0", "worker1"))
        processes.wait_until(lambda found: len(oracle_workers(processes.folder)) == 2)
        first.send_signal(signal.SIGKILL)
        assert chief.wait(WAIT) == 0, chief.stderr.read()
        assert second.wait(WAIT) == 0
    check_all_done(processes.folder)
    starts = [record["starts"] for record in oracle_state(processes.folder)["records"].values()]
    assert sorted(starts) == [1, 1, 1, 1, 1, 2]


def oracle_workers(folder):
    """The workers that have a trial now."""
    with_state = (folder / "oracle.json").exists()
    return oracle_state(folder)["ongoing_trials"] if with_state else {}


@pytest.mark.slow
def test_a_killed_chief_goes_on_from_the_folder(tmp_path):
    with Processes(tmp_path / "search", 0.5, patience=60.0) as processes:
        chief, worker = processes.start("chief"), processes.start("worker0")
        processes.wait_until(lambda found: "COMPLETED" in found.values())
        chief.send_signal(signal.SIGKILL)
        chief = processes.start("chief")
        assert worker.wait(WAIT) == 0, worker.stderr.read()  # it has waited, and gone on
        assert chief.wait(WAIT) == 0, chief.stderr.read()
    check_all_done(processes.folder)
    records = oracle_state(processes.folder)["records"].values()
    assert all(record["seconds"] is not None for record in records)


@pytest.mark.slow
def test_a_worker_whose_chief_is_gone_says_so_and_ends(tmp_path):
    with Processes(tmp_path / "search", 60.0) as processes:
        chief, worker = processes.start("chief"), processes.start("worker0")
        processes.wait_until(lambda found: found)
        chief.send_signal(signal.SIGKILL)
        assert worker.wait(WAIT) == 1
        assert "could not be reached at 127.0.0.1:" in worker.stderr.read()


@pytest.mark.slow
def test_local_workers_are_started_again_and_end_with_the_chief(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder, role = tmp_path / "search", Role("chief", "127.0.0.1", free_port())
    tuner = toy_tuner(folder)
    killed = []
    with LocalWorkers(1, command(folder, 0.5), role, folder / "workers", tuner.oracle) as workers:

        def poll():
            if tuner.oracle.ongoing_trials and not killed:
                killed.append(workers._processes["worker0"])
                killed[0].send_signal(signal.SIGKILL)
            workers.poll()

        serve(tuner.oracle, role, folder, poll=poll)
    check_all_done(folder)
    assert killed[0].wait(WAIT) == -signal.SIGKILL
    assert sum(record["starts"] for record in tuner.oracle.records.values()) == 7


def test_workers_that_cannot_start_end_the_search_with_their_last_words(tmp_path):
    folder, role = tmp_path / "search", Role("chief", "127.0.0.1", free_port())
    tuner = toy_tuner(folder)
    broken = [sys.executable, "-c", "raise SystemExit('no such data set')"]
    with (
        LocalWorkers(2, broken, role, folder / "workers", tuner.oracle) as workers,
        pytest.raises(OSError, match=r"All workers have ended.*no such data set"),
    ):
        serve(tuner.oracle, role, folder, poll=workers.poll)


def test_a_taken_port_raises_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        role = Role("chief", "127.0.0.1", server.getsockname()[1])
        with pytest.raises(OSError, match=f"cannot listen at 127.0.0.1:{role.port}.*free port"):
            serve(toy_tuner(tmp_path / "search").oracle, role, tmp_path)


def test_a_worker_without_a_chief_waits_so_long_and_says_where(tmp_path):
    role, start = Role("worker0", "127.0.0.1", free_port()), time.monotonic()
    with pytest.raises(OSError, match=f"127.0.0.1:{role.port} for 0.5 seconds"):
        wait_for_chief(role, timeout=0.5)
    assert time.monotonic() - start < 5


def test_a_server_that_is_no_chief_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as server:
        role = Role("worker0", "127.0.0.1", server.getsockname()[1])
        with pytest.raises(OSError, match="could not be reached"):
            wait_for_chief(role, timeout=0.5)


@pytest.fixture
def chief(tmp_path):
    """A chief in a thread, which ends when its oracle is in fatal_error or done."""
    role = Role("chief", "127.0.0.1", free_port())
    oracle = toy_tuner(tmp_path / "search", trials=2).oracle
    thread = threading.Thread(
        target=serve, args=(oracle, role, tmp_path / "search"), kwargs={"lost_after": 0.5}
    )
    thread.start()
    yield types.SimpleNamespace(role=role, oracle=oracle, thread=thread)
    oracle.is_done = True
    thread.join(10)
    assert not thread.is_alive()


def finish(oracle, trial):
    oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_a_chief_without_workers_says_so_once_and_waits_for_others(chief, capfd):
    wait_for_chief(chief.role, timeout=10.0)
    lost = chief.oracle.create_trial("ghost")  # which sends no heartbeat
    other = chief.oracle.create_trial("another")
    deadline = time.monotonic() + 10
    while chief.oracle.ongoing_trials and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert chief.thread.is_alive()
    assert capfd.readouterr().err.count("All workers are lost") == 1
    again = [chief.oracle.create_trial("new"), chief.oracle.create_trial("newer")]
    assert {trial.trial_id for trial in again} == {lost.trial_id, other.trial_id}
    for trial in again:
        finish(chief.oracle, trial)
    assert chief.oracle.create_trial("new").status == "STOPPED"
    assert chief.oracle.create_trial("newer").status == "STOPPED"
    chief.thread.join(10)
    assert not chief.thread.is_alive()


def test_a_proxy_does_not_stand_between_a_worker_and_its_chief(chief, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    wait_for_chief(chief.role, timeout=10.0)
    request = get_service().CreateTrialRequest(tuner_id="worker0")
    answer = connect(dataclasses.replace(chief.role, name="worker0")).CreateTrial(
        request, timeout=10
    )
    assert answer.trial.trial_id in chief.oracle.trials


@pytest.fixture
def worker(chief, monkeypatch):
    """Makes this process a worker of the chief."""
    for name, value in dataclasses.replace(chief.role, name="worker0").environment.items():
        monkeypatch.setenv(name, value)


def test_a_worker_has_the_best_of_the_whole_search_though_its_chief_has_gone(
    chief, worker, tmp_path
):
    tuner = toy_tuner(tmp_path / "search", trials=2)
    tuner.search()
    chief.thread.join(10)
    best = max(trial.hyperparameters["x"] for trial in chief.oracle.trials.values())
    assert tuner.get_best_hyperparameters()[0]["x"] == best
    assert float(tuner.get_best_models()[0].layers[-1].bias[0]) == 100 * best + 1
    assert not (tmp_path / "search/worker0.json").exists()


def test_a_worker_of_another_search_or_with_another_folder_is_rejected(chief, worker, tmp_path):
    with pytest.raises(ValueError, match=r"runs another search.*epochs is 1 there, 2 here"):
        toy_tuner(tmp_path / "search", trials=2, epochs=2).search()
    with pytest.raises(ValueError, match="images is not set there, 5 here"):
        toy_tuner(tmp_path / "search", trials=2, details={"images": 5}).search()
    with pytest.raises(FileNotFoundError, match="All processes must see the same folder"):
        toy_tuner(tmp_path / "elsewhere", trials=2).search()
    assert not chief.oracle.trials


def test_an_address_of_ipv6_is_bracketed():
    assert Role("chief", "::1", 8000).target == "[::1]:8000"
    assert Role("chief", "::1", 8000).is_local


def test_a_nested_heartbeat_does_nothing(chief, tmp_path):
    role = dataclasses.replace(chief.role, name="worker0")
    with heartbeat(role, tmp_path, 1.0), heartbeat(role, tmp_path, 1.0):
        # By name: gRPC starts threads of its own, whenever it likes.
        assert [thread.name for thread in threading.enumerate()].count("heartbeat of worker0") == 1
        deadline = time.monotonic() + 10
        while not (tmp_path / "workers/worker0").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_roles_are_read_from_the_environment():
    assert find_role({}) is None
    role = Role("worker3", "10.0.0.5", 8000)
    assert find_role(role.environment) == role
    assert not role.is_chief and not role.is_local
    assert Role("chief", "localhost", 1).is_chief and Role("x", "127.0.0.9", 1).is_local


@pytest.mark.parametrize(
    "wrong",
    [
        {"KERASTUNER_ORACLE_PORT": ""},
        {"KERASTUNER_ORACLE_PORT": "http"},
        {"KERASTUNER_ORACLE_PORT": "70000"},
        {"KERASTUNER_ORACLE_IP": ""},
        {"KERASTUNER_TUNER_ID": "../worker"},
    ],
)
def test_half_a_role_is_rejected(wrong):
    environment = Role("worker0", "127.0.0.1", 8000).environment | wrong
    with pytest.raises(ValueError, match=r"KERASTUNER_TUNER_ID, .*must all be set.*Received"):
        find_role(environment)
