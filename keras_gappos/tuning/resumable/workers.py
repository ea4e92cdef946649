"""The workers of a search on one machine."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

from keras_gappos.tuning.resumable.chief import is_over

_MAX_STARTS = 3  # of one worker, with no trial ended between them
_THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_GPUS = "CUDA_VISIBLE_DEVICES"
# Else the first process to ask takes nearly all of a GPU's memory.
SHARED_MEMORY = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class LocalWorkers:
    """The workers of one machine, as processes that are started again if they die.

    They share the cores and the GPUs: of several GPUs each worker has one, in turn.

    Args:
        count: number of them.
        command: the command line of each, a list.
        role: the chief's `Role`.
        folder: where their logs go, a `pathlib.Path`.
        oracle: the chief's, which hears of a death at once.
        gpus: names of the GPUs to share out; `None` is all of them, and with none each worker
            sees them all.
    """

    def __init__(self, count, command, role, folder, oracle, gpus=None):
        self._command, self._role, self._oracle = command, role, oracle
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._environments = environments(count, os.environ, find_gpus() if gpus is None else gpus)
        self._starts = dict.fromkeys(self._environments, 0)
        self._ended = dict.fromkeys(self._environments, 0)  # trials, at a worker's last start
        self._processes = {}

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

    def look(self):
        """Starts workers again that have died.

        Raises:
            OSError: if none is left.
        """
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                continue
            del self._processes[name]
            if process.returncode == 0:  # it has heard that all is done
                continue
            ending = self._ending(name, process.returncode)
            self._oracle.lose_worker(name, ending)
            if len(self._oracle.end_order) > self._ended[name]:  # a trial's fault, or long ago
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
                # Ctrl-C is for the chief, which ends its workers.
                start_new_session=True,
            )

    def _log(self, name):
        return self._folder / f"{name}.log"


def environments(count, given, gpus):
    """The environment variables of each worker.

    Args:
        count: number of workers.
        given: dictionary of the variables of this process, which come before all others.
        gpus: names of this machine's GPUs, a list.

    Returns:
        A dictionary of the workers' names to dictionaries.
    """
    threads = str(max(1, (os.cpu_count() or 1) // count))
    shared = {**dict.fromkeys(_THREADS, threads), **SHARED_MEMORY, **given}
    found = {f"worker{number}": dict(shared) for number in range(count)}
    for number, environment in enumerate(found.values()):
        if gpus[1:]:
            environment[_GPUS] = gpus[number % len(gpus)]
    return found


def find_gpus(given=os.environ, devices=pathlib.Path("/dev")):
    """The NVIDIA GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES has.

    Args:
        given: dictionary of environment variables.
        devices: folder of the device files.

    Returns:
        A list of strings; empty without GPUs, or where only the framework can tell.
    """
    if _GPUS in given:
        return [name for name in given[_GPUS].split(",") if name]
    # CUDA numbers those that it finds from 0, whatever their files are called.
    return [str(number) for number, _ in enumerate(devices.glob("nvidia[0-9]*"))]


def command_of(arguments):
    """The command line of a worker of this installation: the command's arguments, in a list."""
    return [sys.executable, "-m", "keras_gappos", *arguments]


def worker_folder(folder):
    """Where the logs of a search's local workers are."""
    return pathlib.Path(folder) / "workers"
