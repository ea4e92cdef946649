"""The workers of a search on one machine."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Mapping

from keras_gappos.tuning.resumable.chief import is_over
from keras_gappos.tuning.resumable.oracles import ResumableOracle
from keras_gappos.tuning.resumable.role import Role

_MAX_STARTS = 3  # of one worker without a finished trial
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_GPUS = "CUDA_VISIBLE_DEVICES"
# By default the first process takes nearly all of a GPU's memory.
SHARED_MEMORY = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class LocalWorkers:
    """Worker processes on this machine, restarted if they die.

    They share the cores. With several GPUs, each worker uses one, round-robin.

    Args:
        count: number of workers.
        command: their command line, a list.
        role: the chief's `Role`.
        folder: folder for their logs.
        oracle: the chief's `ResumableOracle`.
        gpus: names of the GPUs to distribute; `None` is all. If empty, each worker sees all GPUs.
    """

    def __init__(
        self,
        count: int,
        command: list[str],
        role: Role,
        folder: pathlib.Path,
        oracle: ResumableOracle,
        gpus: list[str] | None = None,
    ) -> None:
        self._command, self._role, self._oracle = command, role, oracle
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._environments = environments(count, os.environ, find_gpus() if gpus is None else gpus)
        self._starts = dict.fromkeys(self._environments, 0)
        self._ended = dict.fromkeys(self._environments, 0)  # trials, at a worker's last start
        self._processes: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        for name in self._starts:
            self._start(name)
        return self

    def __exit__(self, *_):
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def poll(self) -> None:
        """Restarts workers that have died.

        Raises:
            OSError: if none is left.
        """
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            del self._processes[name]
            if process.returncode == 0:  # all trials are done
                continue
            ending = self._ending(name, process.returncode)
            self._oracle.lose_worker(name, ending)
            if len(self._oracle.end_order) > self._ended[name]:  # trials ended since its start
                self._starts[name] = 0
            if self._starts[name] < _MAX_STARTS:
                self._start(name)
            elif not (self._processes or is_over(self._oracle)):
                raise OSError(f"All workers have ended, and trials remain. {ending}")

    def _ending(self, name, status):
        """How a worker ended, in one line."""
        how = f"exit status {status}"
        if status < 0:
            how = f"signal {-status} ({signal.strsignal(-status)})"
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        last = f", and {self._log(name)} ends with: {' / '.join(lines[-3:])}" if lines else ""
        return f"{name} ended with {how}{last}"

    def _start(self, name):
        self._starts[name] += 1
        self._ended[name] = len(self._oracle.end_order)
        role = dataclasses.replace(self._role, name=name)
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._command,
                env={**self._environments[name], **role.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only the chief, which ends its workers.
                start_new_session=True,
            )

    def _log(self, name):
        return self._folder / f"{name}.log"


def environments(
    count: int, given: Mapping[str, str], gpus: list[str]
) -> dict[str, dict[str, str]]:
    """The environment variables of each worker, by the worker's name.

    Args:
        count: number of workers.
        given: this process's environment variables, which take precedence.
        gpus: names of this machine's GPUs.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    shared = {**dict.fromkeys(_THREADS, threads), **SHARED_MEMORY, **given}
    found = {f"worker{number}": dict(shared) for number in range(count)}
    for number, environment in enumerate(found.values()):
        if gpus[1:]:
            environment[_GPUS] = gpus[number % len(gpus)]
    return found


def find_gpus(
    given: Mapping[str, str] = os.environ, devices: pathlib.Path = pathlib.Path("/dev")
) -> list[str]:
    """The NVIDIA GPUs that this process may use, as in CUDA_VISIBLE_DEVICES; may be empty.

    Args:
        given: environment variables.
        devices: folder of the device files.
    """
    if _GPUS in given:
        return [name for name in given[_GPUS].split(",") if name]
    # CUDA numbers its GPUs from 0, whatever the names of their files.
    return [str(number) for number, _ in enumerate(devices.glob("nvidia[0-9]*"))]


def command_of(arguments: list[str]) -> list[str]:
    """The command line of `keras-gappos` in this installation with these arguments."""
    return [sys.executable, "-m", "keras_gappos", *arguments]


def worker_folder(folder: str | os.PathLike) -> pathlib.Path:
    """The folder of the local workers' logs."""
    return pathlib.Path(folder) / "workers"
