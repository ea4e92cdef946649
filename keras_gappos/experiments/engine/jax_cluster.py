"""Several processes as one JAX cluster, and messages between them."""

import os

import keras
import numpy as np

_ADDRESSES = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
_COUNT = "KERAS_DISTRIBUTION_NUM_PROCESSES"
_RANK = "KERAS_DISTRIBUTION_PROCESS_ID"


def join_cluster():
    """Joins the cluster that Keras' environment variables name; does nothing if there are none.

    Raises:
        ValueError: if a variable is missing or has a wrong value.
        OSError: if the cluster cannot be joined.
    """
    import jax

    given = {name: os.environ.get(name) for name in (_ADDRESSES, _COUNT, _RANK)}
    if not any(given.values()) or jax.distributed.is_initialized():
        return
    _check(given)
    # Read when JAX starts; without it CPU processes find each other and cannot compute together.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Keras would otherwise agree on a seed by a computation among CPUs, which GPU clusters may not
    # be able to do. Each experiment sets its own seed after this.
    keras.utils.set_random_seed(0)
    try:
        keras.distribution.initialize()
    except RuntimeError as error:
        raise OSError(f"The cluster of {_shown(given)} cannot be joined: {error}") from error


def _check(given):
    try:
        count, rank = int(given[_COUNT] or ""), int(given[_RANK] or "")
    except ValueError:
        count, rank = 0, 0
    addresses = (given[_ADDRESSES] or "").split(",")
    if not all(addresses) or not 0 <= rank < count or len(addresses) not in (1, count):
        raise ValueError(
            f"{_ADDRESSES} must be the host:port of the first process, or those of all processes "
            f"with commas between, {_COUNT} their number, and {_RANK} that of this one, from 0. "
            f"Received: {_shown(given)}"
        )


def _shown(given):
    return ", ".join(f"{name}={value}" for name, value in given.items())


def send(content):
    """Sends bytes from the first process to all; every process must call it.

    Args:
        content: bytes; those of the other processes do not matter.

    Returns:
        The first process's bytes.
    """
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.array(len(content), "int32")))
    mine = np.frombuffer(content, "uint8")[:size]
    padded = np.pad(mine, (0, size - len(mine)))
    return np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes()


def gather(content):
    """The bytes of every process, in order; every process must call it."""
    from jax.experimental import multihost_utils

    sizes = multihost_utils.process_allgather(np.array(len(content), "int32"))
    padded = np.pad(np.frombuffer(content, "uint8"), (0, int(sizes.max()) - len(content)))
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes() for row, size in zip(rows, sizes)]
