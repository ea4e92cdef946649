"""One search in many processes: a chief that assigns trials, and workers that train them.

It uses KerasTuner's protocol and environment variables. Any process may be killed: if a worker's
heartbeat stops, its trial is reassigned; a worker that cannot reach its chief exits; a restarted
chief resumes from the folder with the workers that still run.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.protos import get_service_grpc

from keras_gappos.files import replacing
from keras_gappos.tuning.resumable.oracles import ResumableOracle
from keras_gappos.tuning.resumable.role import ADDRESS, PORT, Role

_HEARTBEAT_INTERVAL = 2.0  # seconds
_POLL_INTERVAL = 0.2  # seconds
_NO_PROXY = ("grpc.enable_http_proxy", 0)  # the chief's address is private
_RETRY = {  # calls that a killed chief did not answer; all methods are idempotent
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "1s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_alive: set[str] = set()  # names of the workers in this process


def free_port() -> int:
    """A free port of this machine's loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_chief(role: Role, timeout: float = 60.0) -> None:
    """Waits until the chief can be reached.

    Args:
        role: the worker's `Role`.
        timeout: in seconds.

    Raises:
        OSError: if it cannot be reached in time.
    """
    start = time.monotonic()
    while not _can_connect(role):
        if time.monotonic() - start >= timeout:
            raise OSError(_unreachable(role, timeout))
        time.sleep(min(1.0, timeout / 4))


def connect(role: Role) -> Any:
    """The stub of KerasTuner's service through which a worker calls its chief."""
    options = [_NO_PROXY, ("grpc.service_config", json.dumps(_RETRY))]
    channel = grpc.insecure_channel(role.target, options)
    return get_service_grpc().OracleStub(channel)


@contextlib.contextmanager
def heartbeat(role: Role, folder: pathlib.Path, timeout: float = 60.0) -> Iterator[None]:
    """Sends this worker's heartbeat, and ends the process if the chief is gone.

    Does nothing inside another `heartbeat` of the same worker.

    Args:
        role: the worker's `Role`.
        folder: the search's folder, shared by all processes.
        timeout: seconds to wait for an unreachable chief.
    """
    if role.name in _alive:
        yield
        return
    over = threading.Event()
    path = folder / "workers" / role.name
    path.parent.mkdir(parents=True, exist_ok=True)

    def beat():
        count, seen = 0, time.monotonic()
        while not over.wait(min(_HEARTBEAT_INTERVAL, timeout / 4)):
            count += 1
            # A briefly unavailable folder should not lose a trial.
            with contextlib.suppress(OSError), replacing(path) as temporary:
                temporary.write_text(f"{os.getpid()} {count}")
            if _can_connect(role):
                seen = time.monotonic()
            elif time.monotonic() - seen >= timeout:
                _say(_unreachable(role, timeout))
                os._exit(1)

    thread = threading.Thread(target=beat, name=f"heartbeat of {role.name}", daemon=True)
    thread.start()
    _alive.add(role.name)
    try:
        yield
    finally:
        _alive.discard(role.name)
        over.set()
        thread.join()


def serve(
    oracle: ResumableOracle,
    role: Role,
    folder: pathlib.Path,
    lost_after: float = 60.0,
    poll: Callable[[], None] | None = None,
) -> None:
    """Assigns trials, as the chief, until all are done.

    Args:
        oracle: a `ResumableOracle`, reloaded.
        role: the chief's `Role`; it listens at this address.
        folder: the search's folder, shared by all processes.
        lost_after: seconds without a heartbeat after which a worker counts as lost.
        poll: called five times per second; its errors end the search.

    Raises:
        OSError: if the port is not available.
        RuntimeError: if the first trials all fail.
    """
    _check_port(role)
    oracle.await_workers()
    options = [("grpc.so_reuseport", 0)]  # a second chief must not listen there, too
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=options)
    get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    server.add_insecure_port(role.target)
    server.start()
    heartbeats = _Heartbeats(folder / "workers", lost_after)
    try:
        while not is_over(oracle):
            time.sleep(_POLL_INTERVAL)
            lost = heartbeats.stopped({*oracle.ongoing_trials, *oracle.tuner_ids})
            for name in lost:
                oracle.lose_worker(name)
            if lost and not (oracle.tuner_ids or oracle.ongoing_trials or is_over(oracle)):
                _say(f"All workers are lost; waiting for new ones at {role.target}.")
            if poll is not None:
                poll()
    finally:
        server.stop(grace=1.0).wait()
    if oracle.fatal_error is not None:
        raise oracle.fatal_error


class _Heartbeats:
    """Finds the workers whose heartbeats have stopped, by this process's clock."""

    def __init__(self, folder, lost_after):
        self._folder, self._lost_after = folder, lost_after
        self._seen = {}

    def stopped(self, names: Iterable[str]) -> list[str]:
        now = time.monotonic()
        return [name for name in names if now - self._last_beat(name, now) >= self._lost_after]

    def _last_beat(self, name, now):
        try:
            beat = (self._folder / name).read_text()
        except OSError:
            beat = None
        if name not in self._seen or self._seen[name][0] != beat:
            self._seen[name] = beat, now
        return self._seen[name][1]


def is_over(oracle: ResumableOracle) -> bool:
    """Whether all trials are done and all workers know it, or the search failed."""
    if oracle.fatal_error is not None:
        return True
    return oracle.is_done and not oracle.ongoing_trials and not oracle.tuner_ids


def _can_connect(role):
    """Whether a chief answers there, unlike a closed port, another server or a hung process."""
    options = [_NO_PROXY, ("grpc.use_local_subchannel_pool", 1)]  # a new connection
    with grpc.insecure_channel(role.target, options) as channel:
        answer = grpc.channel_ready_future(channel)
        try:
            answer.result(timeout=2.0)
            return True
        except grpc.FutureTimeoutError:
            answer.cancel()
            return False


def _say(line):
    print(f"keras-gappos: {line}", file=sys.stderr, flush=True)


def _unreachable(role, timeout):
    return (
        f"The chief of the search could not be reached at {role.target} for "
        f"{timeout:g} seconds. Start it, or correct {ADDRESS} and {PORT}."
    )


def _check_port(role):
    """Raises an `OSError` if the chief cannot listen, and warns if other machines may connect."""
    try:
        family = socket.getaddrinfo(role.address, role.port)[0][0]
        with socket.create_server((role.address, role.port), family=family):
            pass
    except OSError as error:
        raise OSError(
            f"The chief cannot listen at {role.target} ({error.strerror}). Set {PORT} "
            f"to a free port, and {ADDRESS} to an address of this machine."
        ) from error
    if not role.is_local:
        warnings.warn(
            f"The chief listens at {role.target} without authentication: use a private network.",
            stacklevel=3,
        )
