"""The paper's AugShift tables: how often does a classifier answer the same when its input moves?

The plain ResNet-18, BlurPool, APS, one random shift as augmentation, AugShift, and AugShift on
BlurPool: each is trained with the same budget and scored by top-1 accuracy and shift consistency,
by random pairs and exactly. On CIFAR-10:

    keras-gappos run invariance

The paper has 93.1 % top-1 and 90.8 % consistency for ResNet-18, 92.5 and 92.5 for BlurPool, 92.1
and 94.8 for AugShift; with `--dataset cifar100` 72.6 and 70.1, 72.4 and 78.2, 72.6 and 85.6. A GPU
is needed for the defaults; `--precision mixed_bfloat16` suits it. With

    keras-gappos run invariance --width 16 --epochs 8 --precision mixed_bfloat16 \
        --search-epochs 4 --search-images 10000 --validation-images 1000 --consistency-images 2000

all six take about 3 hours on 2 CPU cores (17 minutes the plain network, 27 AugShift) and reach 82.6
and 75.1 for ResNet-18, 85.2 and 81.5 for BlurPool, 82.8 and 90.2 for AugShift.

Source: Islam et al., ICCV 2021, section 4.
"""

import pathlib
import shutil

import keras
import numpy as np

from keras_gappos.analysis import shift_consistency
from keras_gappos.data.batches import TrainingBatches
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.devices import use_devices
from keras_gappos.experiments.engine.display import ShowProgress
from keras_gappos.experiments.engine.precision import dtype_policy
from keras_gappos.experiments.engine.results import ResultFolder, find_row, read_results
from keras_gappos.experiments.engine.runner import Job, fit_with_backup, run_jobs, save_weights
from keras_gappos.experiments.invariance.networks import build_network, trained_model
from keras_gappos.experiments.invariance.report import make_table, write_report
from keras_gappos.experiments.invariance.settings import METHODS, InvarianceSettings
from keras_gappos.tuning.objective import best_first, score_above_floor

_TRAIN_COST = 3  # a training step costs about three test steps
_TEST_BATCHES = 4  # training batches in one test batch, which keeps no gradients


def run(settings, console=None):
    """Trains and scores what is not yet in the output folder, and writes table and figure.

    Args:
        settings: an `InvarianceSettings`.
        console: a `rich.console.Console` to show progress on, or `None` for standard output.

    Returns:
        The rows: dictionaries with `method`, `split` ("test"; "validation" for the consistency
        weights on trial), `top1`, `consistency_random`, `consistency_exact`, `accuracy_over_shifts`
        (mean over all shifts) and `worst_case` (correct under all of them), in percent,
        `consistency_random_stderr` and `consistency_exact_stderr` in percentage points,
        `accuracy_map` (a row for each shift down, a column for each shift right),
        `consistency_weight` of AugShift, `chance`, `epochs`, `seconds`, `weights` and the inputs'
        `mean` and `std`.

    Raises:
        ValueError: for data that do not fit the settings, or an output folder of other settings.
        OSError: if the output folder cannot be written.
    """
    devices = use_devices(settings.distribute, settings.batch_size)
    folder = ResultFolder(settings.output_dir, "invariance", settings, ("methods",), devices)
    with folder.lock():
        images = load_images(settings)
        _check_images(settings, images)
        with dtype_policy(settings.precision):
            run_jobs(
                folder,
                _plan(settings, images),
                lambda job, display: _train_and_score(settings, job, images, folder, display),
                lambda row: (
                    f"{row['top1']:.2f} % top-1, {row['consistency_exact']:.2f} % consistent"
                ),
                lambda: write_report(folder.path, folder.content),
                make_table,
                console,
            )
        methods = folder.content["settings"]["methods"]
        if all(folder.find(**_final(method)) for method in methods):
            shutil.rmtree(folder.path / "backup", ignore_errors=True)
    return folder.rows


def load_network(output_dir, method):
    """Loads a trained network from the folder of a finished experiment.

    It takes images in [0, 1] from which the row's `mean` was subtracted and that were then divided
    by its `std`.

    Args:
        output_dir: the experiment's output folder.
        method: which row.

    Returns:
        A Functional `keras.Model`.

    Raises:
        ValueError: if the folder has no such row.
    """
    output_dir = pathlib.Path(output_dir).expanduser()
    content = read_results(output_dir / "results.json")
    row = find_row(content["rows"], _final(method))
    if row is None:
        raise ValueError(f"{output_dir} has no finished row of method {method!r}")
    settings = InvarianceSettings(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in content["settings"].items()}
    )
    network = build_network(settings, method, row["image_shape"], row["num_classes"])
    network.load_weights(output_dir / row["weights"])
    return network


def choose_weight(rows, tolerance):
    """The consistency weight of the most consistent row among those that are accurate enough.

    Args:
        rows: validation rows, with `consistency_weight`, `top1` and `consistency_exact`.
        tolerance: how far `top1` may be below the best one, in percentage points.

    Returns:
        The weight; of two that are equally consistent, the smaller one.
    """
    top1, consistencies = (
        [row[name] / 100 for row in rows] for name in ("top1", "consistency_exact")
    )
    weights = [row["consistency_weight"] for row in rows]
    return weights[best_first(score_above_floor(top1, consistencies, tolerance), weights)[0]]


def _final(method):
    return {"method": method, "split": "test"}


def _plan(settings, images):
    """The jobs: the weights on trial come before the first AugShift, and that comes early."""
    jobs, trials = [], settings.weights_on_trial
    for method in (method for method in METHODS if method in settings.methods):
        if method.startswith("augshift"):
            for weight in trials:
                key = {"method": "augshift", "split": "validation", "consistency_weight": weight}
                work = _work(settings, key, images)
                jobs.append(Job(key, f"augshift, consistency weight {weight:g} on trial", work))
            trials = ()
        jobs.append(Job(_final(method), method, _work(settings, _final(method), images)))
    return jobs


def _split(settings, key, images):
    """`(train images, train labels, scored images, scored labels, epochs)` of a job."""
    train, labels = images.train_images, images.train_labels
    if key["split"] == "test":
        return train, labels, images.test_images, images.test_labels, settings.epochs
    first_held_out = len(train) - settings.validation_images
    used = settings.search_images or first_held_out
    held_out = slice(first_held_out, None)
    return train[:used], labels[:used], train[held_out], labels[held_out], settings.search_epochs


def _work(settings, key, images):
    """The work of one job, in test images."""
    train, _, scored, _, epochs = _split(settings, key, images)
    shifts = (2 * settings.max_shift + 1) ** 2 * len(scored[: settings.consistency_images])
    passes = (1 + 2 * settings.pairs) * len(scored)
    return _image_cost(key) * len(train) * epochs + shifts + passes


def _image_cost(key):
    """The work of training on one image; AugShift makes two of each."""
    return _TRAIN_COST * (2 if key["method"].startswith("augshift") else 1)


def _train_and_score(settings, job, images, folder, display):
    key = job.key
    train, labels, scored, scored_labels, epochs = _split(settings, key, images)
    keras.utils.set_random_seed(settings.seed)
    network = build_network(settings, key["method"], images.image_shape, images.num_classes)
    weight = _consistency_weight(settings, key, folder.rows)
    batches = TrainingBatches(train, labels, settings.batch_size, settings.flip, settings.seed)
    image_cost = _image_cost(key)
    step_cost = image_cost * len(train) / len(batches)
    progress = ShowProgress(display, step_cost, 0, job.name)
    backup = fit_with_backup(
        network,
        lambda copy: trained_model(settings, key["method"], copy, weight, epochs * len(batches)),
        folder,
        job,
        display,
        batches,
        epoch_work=image_cost * len(train),
        epochs=epochs,
        callbacks=[progress],
    )
    row = {**key, **score(settings, network, scored, scored_labels)}
    display.advance(job.work - image_cost * len(train) * epochs)
    if weight is not None:
        row["consistency_weight"] = weight
    if key["split"] == "test":
        row["weights"] = save_weights(network, folder, key["method"])
    return {
        **row,
        "dataset": settings.dataset,
        "depth": settings.depth,
        "chance": 100 / images.num_classes,
        "epochs": backup.epochs,
        "train_images": len(train),
        "test_images": len(scored),
        "consistency_images": len(scored[: settings.consistency_images]),
        "parameters": network.count_params(),
        "seconds": round(backup.seconds, 1),
        "image_shape": list(images.image_shape),
        "num_classes": images.num_classes,
        "mean": images.mean,
        "std": images.std,
    }


def _consistency_weight(settings, key, rows):
    """The weight of AugShift's consistency term: on trial, chosen, given, or `None`."""
    if not key["method"].startswith("augshift"):
        return None
    if "consistency_weight" in key:
        return key["consistency_weight"]
    if not settings.weights_on_trial:
        return settings.consistency_weights[0]
    trials = [row for row in rows if row["split"] == "validation"]
    return choose_weight(trials, settings.weight_tolerance)


def score(settings, network, images, labels):
    """Accuracy and consistency of a trained network.

    Args:
        settings: an `InvarianceSettings`.
        network: the trained network.
        images, labels: to score on, as `ImageData` has them.

    Returns:
        A dictionary with those entries of a row, `top1` to `accuracy_map`.
    """
    batch_size = _TEST_BATCHES * settings.batch_size

    def measure(protocol, count=None, **arguments):
        return shift_consistency(
            network,
            images[:count],
            protocol,
            settings.max_shift,
            labels=labels[:count],
            batch_size=batch_size,
            seed=settings.seed,
            progress=False,
            **arguments,
        )

    outputs = network.predict(images, batch_size=batch_size, verbose=0)
    random = measure("random", pairs=settings.pairs)
    exact = measure("exact", settings.consistency_images)
    return {
        "top1": 100 * float(np.mean(outputs.argmax(-1) == labels)),
        "consistency_random": random.consistency,
        "consistency_random_stderr": random.to_dict()["stderr"],
        "consistency_exact": exact.consistency,
        "consistency_exact_stderr": exact.to_dict()["stderr"],
        "accuracy_over_shifts": exact.accuracy,
        "worst_case": exact.worst_case,
        "accuracy_map": np.round(exact.accuracy_map, 2).tolist(),
    }


def _check_images(settings, images):
    side = min(images.image_shape[:2])
    for name in ("max_shift", "train_shift"):
        if (getattr(settings, name) or 0) >= side:
            raise ValueError(
                f"`{name}` must be smaller than the image, in [1, {side}). Received: "
                f"{name}={getattr(settings, name)}, images of shape {images.image_shape}"
            )
    needed = settings.validation_images + (settings.search_images or settings.batch_size)
    if settings.weights_on_trial and len(images.train_images) < needed:
        raise ValueError(
            "`validation_images` and `search_images` must fit into the training images. Received: "
            f"validation_images={settings.validation_images}, "
            f"search_images={settings.search_images}, batch_size={settings.batch_size}, "
            f"{len(images.train_images)} training images"
        )
