"""The networks of the invariance experiment, and how each method trains its own."""

import keras

from keras_gappos import layers, models, training
from keras_gappos.experiments.invariance.methods import METHODS
from keras_gappos.training.optimizers import warmup_cosine_sgd


def build_network(settings, method, image_shape, num_classes):
    """Builds the untrained classifier of a method.

    Args:
        settings: an `InvarianceSettings`.
        method: which method.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes.
    """
    method = METHODS[method]
    return models.resnet(
        settings.depth,
        tuple(image_shape),
        num_classes,
        width=settings.width,
        stem=settings.stem,
        downsampling=method.downsampling,
        padding=method.padding,
    )


def trained_model(settings, method, network, consistency_weight, steps):
    """Wraps and compiles a network for training; `fit` takes images and one-hot labels.

    Args:
        settings, method: as in `build_network`.
        network: the classifier.
        consistency_weight: for AugShift.
        steps: number of training steps in all.

    Returns:
        A compiled `keras.Model` that shares the network's weights.
    """
    model, views = network, METHODS[method].views
    max_shift = settings.train_shift or settings.max_shift
    border = {"fill_mode": settings.fill_mode, "seed": settings.seed}
    if views == 2:
        model = training.AugShift(network, max_shift, consistency_weight, **border)
    elif views == 1:
        shift = layers.RandomShift(max_shift, **border)
        images = keras.Input(network.input_shape[1:])
        model = keras.Model(images, network(shift(images)))
    model.compile(
        make_optimizer(settings, steps),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings.label_smoothing
        ),
        metrics=["accuracy"],
        jit_compile=settings.keras_jit_compile,
    )
    return model


def make_optimizer(settings, steps):
    """SGD whose learning rate rises, then falls to 0 with the last of `steps`."""
    return warmup_cosine_sgd(
        settings.learning_rate,
        settings.batch_size,
        steps,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
    )
