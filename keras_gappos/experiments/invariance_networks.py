"""The networks of the invariance experiment, and how each method trains its own."""

import keras

from keras_gappos import layers, models, training

DOWNSAMPLING = {"blurpool": "blur", "aps": "polyphase", "augshift_blurpool": "blur"}


def build_network(settings, method, image_shape, num_classes):
    """Builds the untrained classifier of a method.

    Args:
        settings: an `InvarianceSettings`.
        method: which method.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of image classes.
    """
    return models.resnet(
        settings.depth,
        tuple(image_shape),
        num_classes,
        width=settings.width,
        stem=settings.stem,
        downsampling=DOWNSAMPLING.get(method, "stride"),
    )


def trained_model(settings, method, network, consistency_weight, steps):
    """Wraps and compiles a network for training; `fit` takes plain images and labels.

    Args:
        settings, method: as in `build_network`.
        network: the classifier.
        consistency_weight: for AugShift.
        steps: number of training steps in all.

    Returns:
        A compiled `keras.Model` that shares the network's weights.
    """
    model = network
    if method.startswith("augshift"):
        model = training.AugShift(
            network, settings.max_shift, consistency_weight, seed=settings.seed
        )
    elif method == "shift":
        shift = layers.RandomShift(settings.max_shift, seed=settings.seed)
        images = keras.Input(network.input_shape[1:])
        model = keras.Model(images, network(shift(images)))
    model.compile(
        make_optimizer(settings, steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def make_optimizer(settings, steps):
    """SGD whose learning rate rises, then falls to 0 with the last of `steps`."""
    rising = min(max(1, round(settings.warmup * steps)), max(1, steps - 1))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - rising),
        warmup_target=settings.learning_rate * settings.batch_size / 128,
        warmup_steps=rising,
    )
    optimizer = keras.optimizers.SGD(
        schedule, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay or None
    )
    # Searched for in the variable's name, which is its whole path on TensorFlow.
    optimizer.exclude_from_weight_decay(var_names=[r"\b(gamma|beta|bias)\b"])
    return optimizer
