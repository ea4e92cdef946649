"""Where an experiment trains: on one device, on several of one machine, or on a cluster's."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator

import keras

from keras_gappos.experiments.engine.fused_batch_norm import with_fused_batch_norm
from keras_gappos.experiments.engine.jax_cluster import gather, join_cluster, send


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that share a training, and this process among those that do.

    All processes run the same program on the same data. Each feeds its part of every batch to its
    own devices; what is not training they all do alike, each on its own device. Only the first one,
    the chief, reads and writes the output folder.

    Attributes:
        replicas: number of devices that a batch is divided among.
        rank: number of this process, from 0.
        processes: number of processes.
        strategy: what makes the variables and the training step of all devices, with a `scope`: a
            `tf.distribute.Strategy`, a `keras.distribution.Distribution`, or `None` for one device.
    """

    replicas: int = 1
    rank: int = 0
    processes: int = 1
    strategy: object = None

    @property
    def is_chief(self):
        """Whether this is the process that writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def training(self, network):
        """Gives a copy of a network that is on all devices, for as long as it is trained.

        The network itself stays on one device, and has the copy's weights and random states in the
        end, so that it is saved and scored as if one device had trained it. On one device of
        TensorFlow the copy has faster batch normalizations; on one of another backend it is the
        network.

        A MirroredStrategy's copies of a batch normalization would each use their own part of the
        batch; here they use the whole batch, as on one device, and as JAX's do anyway.

        Args:
            network: a built Functional or Sequential model. A model that wraps the copy, and
                optimizers, must be created, and fitted, inside the context.
        """
        if self.strategy is None and keras.backend.backend() != "tensorflow":
            yield network
            return
        with self.strategy.scope() if self.strategy else contextlib.nullcontext():
            copy = self.clone(network)
            yield copy
        _copy_variables(copy, network)

    def clone(self, network):
        """A copy of a network whose batch normalizations use the whole batch; in the scope."""
        clone_function = _synchronized_clone if self.strategy else with_fused_batch_norm
        copy = keras.models.clone_model(network, clone_function=clone_function)
        _copy_variables(network, copy)
        return copy

    def part(self, batches):
        """This process's part of a `keras.utils.PyDataset`'s batches, which are the same on all."""
        return batches if self.processes == 1 else BatchParts(batches, self.rank, self.processes)

    def from_chief(self, make):
        """What `make` gives on the chief, on every process; all of them must come here.

        Args:
            make: function of nothing that gives something for JSON; called on the chief alone.

        Raises:
            ValueError, OSError: on every process, if `make` does on the chief.
        """
        if self.processes == 1:
            return make()
        message, error = None, None
        if self.is_chief:
            try:
                message = {"value": make()}
            except (ValueError, OSError) as caught:  # the others wait for the message
                message, error = {"error": str(caught)}, caught
        message = json.loads(send(json.dumps(message).encode()))
        if error is not None:
            raise error
        if "error" in message:
            raise OSError(f"The first process ended with: {message['error']}")
        return message["value"]

    def file_from_chief(self, path, folder):
        """Gives every process a copy of a file that the chief has.

        Args:
            path: the file, or `None`; what the others give does not matter.
            folder: where the others put their copies, a `pathlib.Path`.

        Returns:
            The file's path on this process, or `None`.
        """
        name = self.from_chief(lambda: path and path.name)
        if name is None or self.processes == 1:
            return path
        content = send(path.read_bytes() if self.is_chief else b"")
        if self.is_chief:
            return path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return folder / name

    def check_batch_size(self, batch_size):
        """Raises a `ValueError` for a number of images that cannot be divided among the devices."""
        if batch_size % self.replicas:
            raise ValueError(
                "`batch_size` counts the images on all devices together, and must be a multiple of "
                f"their number. Received: batch_size={batch_size}, {self.replicas} devices"
            )

    def check_alike(self, text, what):
        """Raises a `ValueError` on every process if `text` is not the same on all.

        Args:
            text: a string.
            what: what the processes must have in common, for the message.
        """
        others = gather(text.encode()) if self.processes > 1 else []
        if any(other != text.encode() for other in others):
            raise ValueError(
                f"The processes must all have the same {what}. Received by process {self.rank}: "
                f"{text}"
            )


ONE_DEVICE = Devices()


class BatchParts(keras.utils.PyDataset):
    """One process's part of each batch: the first rows for the first process, and so on.

    Args:
        batches: a `keras.utils.PyDataset` of arrays whose first axis `processes` divides.
        rank: number of the process, from 0.
        processes: number of processes.
    """

    def __init__(self, batches, rank, processes):
        super().__init__()
        self._batches, self._rank, self._processes = batches, rank, processes

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        def part(values):
            size = len(values) // self._processes
            return values[self._rank * size : (self._rank + 1) * size]

        return keras.tree.map_structure(part, self._batches[index])


def use_devices(distribute, batch_size=None):
    """Finds the devices to train on; on JAX joins the cluster that the environment names.

    Call it before anything is computed: processes can join a cluster only before that.

    Args:
        distribute: as in `TrainingSettings`.
        batch_size: number of images in a step, to be checked, or `None`.

    Returns:
        A `Devices`.

    Raises:
        ValueError: for another backend than the distribution needs, a cluster that Keras cannot
            train on, or a batch size that cannot be divided.
        OSError: if the cluster cannot be joined.
    """
    kinds = {"none": Devices, "mirrored": _mirrored, "jax": _data_parallel}
    devices = kinds[distribute]()
    if batch_size is not None:
        devices.check_batch_size(batch_size)
    return devices


def _mirrored():
    """All GPUs of this machine; without any, all of TensorFlow's logical CPU devices."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "distribute='mirrored' needs the TensorFlow backend: set KERAS_BACKEND=tensorflow, or "
            "use the JAX backend (KERAS_BACKEND=jax) with distribute='jax'. Received: backend "
            f"{keras.backend.backend()}"
        )
    tasks = _tasks_of_tf_config()
    if tasks > 1:
        raise ValueError(
            "distribute='mirrored' is for the GPUs of one machine, and Keras 3 cannot train with "
            "MultiWorkerMirroredStrategy or ParameterServerStrategy. For several hosts use the JAX "
            "backend (KERAS_BACKEND=jax) with distribute='jax'; for one, unset TF_CONFIG. "
            f"Received: TF_CONFIG with {tasks} tasks"
        )
    import tensorflow as tf

    gpus, cpus = (tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU"))
    if not gpus and len(cpus) == 1:
        raise ValueError(
            "distribute='mirrored' needs a GPU, or more than one logical CPU device. Received: a "
            "machine where TensorFlow sees one CPU device. Use distribute='none'."
        )
    strategy = tf.distribute.MirroredStrategy(
        [device.name for device in gpus or cpus],
        # The collectives that TensorFlow would choose for CPUs can wait for ever.
        cross_device_ops=None if gpus else tf.distribute.ReductionToOneDevice(),
    )
    return Devices(replicas=strategy.num_replicas_in_sync, strategy=strategy)


def _tasks_of_tf_config():
    """The number of training tasks in TF_CONFIG, with which clusters of TensorFlow are set up."""
    try:
        cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
        return sum(len(tasks) for job, tasks in cluster.items() if job != "evaluator")
    except (AttributeError, TypeError, json.JSONDecodeError):
        return 0  # nothing that TensorFlow would take for a cluster


def _data_parallel():
    """All devices of the cluster, or of this machine."""
    if keras.backend.backend() != "jax":
        raise ValueError(
            "distribute='jax' needs the JAX backend: set KERAS_BACKEND=jax. On TensorFlow "
            "distribute='mirrored' trains on all GPUs of one machine. Received: backend "
            f"{keras.backend.backend()}"
        )
    join_cluster()
    import jax

    return Devices(
        replicas=jax.device_count(),
        rank=jax.process_index(),
        processes=jax.process_count(),
        strategy=keras.distribution.DataParallel(auto_shard_dataset=False),
    )


def _synchronized_clone(layer):
    config = layer.get_config()
    norm = isinstance(layer, keras.layers.BatchNormalization)
    if norm and keras.backend.backend() == "tensorflow":  # others do not accept the argument
        config["synchronized"] = True
    return layer.__class__.from_config(config)


def _copy_variables(source, target):
    """Copies weights and the states of random generators."""
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(keras.ops.convert_to_numpy(old))


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Sets Keras' dtype policy, and restores the former one."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
