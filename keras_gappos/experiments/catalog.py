"""What the command line and the zoo need of the experiments: scores of a card, and publishing."""

from keras_gappos.experiments.attack import run as attack
from keras_gappos.experiments.attack.data import load_segmentation
from keras_gappos.experiments.engine.data import load_images
from keras_gappos.experiments.engine.precision import dtype_policy
from keras_gappos.experiments.engine.results import read_results
from keras_gappos.experiments.engine.zoo_entry import publications, settings_of
from keras_gappos.experiments.invariance import run as invariance
from keras_gappos.experiments.location import run as location
from keras_gappos.zoo import fetch, info
from keras_gappos.zoo import publish as zoo_publish
from keras_gappos.zoo.loading import build, load_weights


def score(name, data_dir=None):
    """Scores a model of the zoo on the data, and in the way, of its card.

    Random draws are those of the card's seed: on the same backend the scores are the same.

    Args:
        name: of a model, see `keras_gappos.zoo.list_models`.
        data_dir: folder of prepared TensorFlow Datasets; `None` is ~/tensorflow_datasets.

    Returns:
        A dictionary of the names of `ZooModel.figures` to the figures now, in percent.

    Raises:
        ValueError: for an unknown name.
        OSError: if the weights or the data cannot be had.
    """
    model = info(name)
    settings = settings_of(model.experiment, model.settings, data_dir=data_dir)
    with dtype_policy(settings.precision):
        network = build(model)
        load_weights(network, fetch(name), name)
        figures = _SCORES[model.experiment](settings, model.key, network)
    return {figure: figures[figure] for figure in model.figures}


def _location(settings, key, network):
    accuracies = location.score(settings, key, network, load_images(settings))
    return {"accuracy": sum(accuracies) / len(accuracies)}


def _invariance(settings, key, network):
    images = load_images(settings)
    return invariance.score(settings, network, images.test_images, images.test_labels)


def _attack(settings, key, network):
    scores = attack.score(network, load_segmentation(settings))
    return {"miou": scores["miou"], "pixel_accuracy": scores["accuracy"]}


_SCORES = {"location": _location, "invariance": _invariance, "attack": _attack}


def publish(*args, **kwargs):
    """Adds an experiment's networks to the zoo: `zoo.publish.publish` with these experiments."""
    return zoo_publish.publish(*args, **kwargs, entries_of=_entries_of)


def _entries_of(results, tag):
    return publications(read_results(results), tag)
