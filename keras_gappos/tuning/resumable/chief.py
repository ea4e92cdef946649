"""One search in many processes: a chief that hands out trials, and workers that train them.

It uses KerasTuner's protocol and environment variables, and any process may be killed. If a
worker's heartbeat stops, its trial is reassigned. A worker that cannot reach its chief ends. A
chief that is restarted resumes from the folder, together with the workers that still run.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import warnings
from concurrent import futures

import grpc
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.protos import get_service_grpc

from keras_gappos.files import replacing
from keras_gappos.tuning.resumable.role import ADDRESS, PORT

_BEAT_EVERY = 2.0  # seconds
_LOOK_EVERY = 0.2  # seconds
_DIRECTLY = ("grpc.enable_http_proxy", 0)  # a proxy would not know the chief's private address
_REPEAT = {  # what a killed chief did not answer; every method may be called twice
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
_alive: set[str] = set()  # names of the workers that this process is


def free_port():
    """A port of this machine's loopback address that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for_chief(role, timeout=60.0):
    """Waits until the chief can be reached.

    Args:
        role: the worker's `Role`.
        timeout: in seconds.

    Raises:
        OSError: if it cannot be.
    """
    start = time.monotonic()
    while not _can_connect(role):
        if time.monotonic() - start >= timeout:
            raise OSError(_unreachable(role, timeout))
        time.sleep(min(1.0, timeout / 4))


def connect(role):
    """Makes a worker's stub of KerasTuner's service, through which it asks its chief.

    Args:
        role: the worker's `Role`.
    """
    options = [_DIRECTLY, ("grpc.service_config", json.dumps(_REPEAT))]
    channel = grpc.insecure_channel(role.target, options)
    return get_service_grpc().OracleStub(channel)


@contextlib.contextmanager
def heartbeat(role, folder, timeout=60.0):
    """Sends this worker's heartbeat, and ends the process if the chief is gone.

    Nested in another one of the same worker, it does nothing.

    Args:
        role: the worker's `Role`.
        folder: the search's folder, which all processes share; a `pathlib.Path`.
        timeout: how long the chief may be away, in seconds.
    """
    if role.name in _alive:
        yield
        return
    over = threading.Event()
    path = folder / "workers" / role.name
    path.parent.mkdir(parents=True, exist_ok=True)

    def beat():
        count, seen = 0, time.monotonic()
        while not over.wait(min(_BEAT_EVERY, timeout / 4)):
            count += 1
            # A folder that is away for a moment is no reason to lose a trial.
            with contextlib.suppress(OSError), replacing(path) as temporary:
                temporary.write_text(f"{os.getpid()} {count}")
            if _can_connect(role):
                seen = time.monotonic()
            elif time.monotonic() - seen >= timeout:
                _say(_unreachable(role, timeout))
                os._exit(1)

    thread = threading.Thread(target=beat, name=f"beat of {role.name}", daemon=True)
    thread.start()
    _alive.add(role.name)
    try:
        yield
    finally:
        _alive.discard(role.name)
        over.set()
        thread.join()


def serve(oracle, role, folder, lost_after=60.0, look=None):
    """Hands out trials, as the chief, until all are done.

    Args:
        oracle: a `ResumableOracle`, reloaded.
        role: the chief's `Role`; it listens at this address.
        folder: the search's folder, which all processes share; a `pathlib.Path`.
        lost_after: seconds without a heartbeat after which a worker counts as lost.
        look: function without arguments, called five times a second, or `None`; it may raise.

    Raises:
        OSError: if the port is not available.
        RuntimeError: if the first trials all fail.
    """
    _check_port(role)
    oracle.await_workers()
    options = [("grpc.so_reuseport", 0)]  # else a second chief could listen there too
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=options)
    get_service_grpc().add_OracleServicer_to_server(OracleServicer(oracle), server)
    server.add_insecure_port(role.target)
    server.start()
    heartbeats = _Heartbeats(folder / "workers", lost_after)
    try:
        while not is_over(oracle):
            time.sleep(_LOOK_EVERY)
            lost = heartbeats.stopped({*oracle.ongoing_trials, *oracle.tuner_ids})
            for name in lost:
                oracle.lose_worker(name)
            if lost and not (oracle.tuner_ids or oracle.ongoing_trials or is_over(oracle)):
                _say(f"All workers are lost; waiting for new ones at {role.target}.")
            if look is not None:
                look()
    finally:
        server.stop(grace=1.0).wait()
    if oracle.fatal_error is not None:
        raise oracle.fatal_error


class _Heartbeats:
    """Finds the workers whose heartbeats have stopped, by this process's own clock."""

    def __init__(self, folder, lost_after):
        self._folder, self._lost_after = folder, lost_after
        self._seen = {}

    def stopped(self, names):
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


def is_over(oracle):
    """Whether no trial is left, and every worker knows it; or the search must end."""
    if oracle.fatal_error is not None:
        return True
    return oracle.is_done and not oracle.ongoing_trials and not oracle.tuner_ids


def _can_connect(role):
    """Whether a chief answers there: not a closed port, another server, or a process that hangs."""
    options = [_DIRECTLY, ("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
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
            f"The chief listens at {role.target}, and does not ask who connects: let "
            "only a private network reach it.",
            stacklevel=3,
        )
