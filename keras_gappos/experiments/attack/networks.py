"""The segmentation network of the attack, and how it is trained."""

import keras

from keras_gappos import models
from keras_gappos.data import SegmentationBatches

_DECAY_POWER = 0.9  # of the "poly" schedule: arXiv 1706.05587, section 4.1


def build_network(settings, image_shape, num_classes):
    """Builds the untrained DeepLabv3.

    Args:
        settings: an `AttackSettings`.
        image_shape: `(height, width, channels)` of one image.
        num_classes: number of classes.
    """
    height, width, channels = image_shape
    # Of any size, so that crops and whole images fit alike.
    shape = (height, width, channels) if settings.crop is None else (None, None, channels)
    return models.deeplabv3(
        shape,
        num_classes,
        depth=settings.depth,
        width=settings.width,
        output_stride=settings.output_stride,
    )


def training_batches(settings, images, flip):
    """Batches of scaled, cropped and, with `flip`, mirrored training images and masks.

    Args:
        settings: an `AttackSettings`.
        images: a `SegmentationData`.
        flip: whether to mirror half of the images.
    """
    return SegmentationBatches(
        images.train_images,
        images.train_masks,
        settings.batch_size,
        settings.seed,
        size=settings.crop,
        scale=settings.scales,
        flip=flip,
        ignore_class=images.info.ignore_class,
    )


def compile_for_training(settings, network, ignore_class, steps):
    """Compiles a network, and gives it back; pixels whose label is `ignore_class` do not count.

    Args:
        settings: an `AttackSettings`.
        network: the network.
        ignore_class: the label, at least 0.
        steps: number of training steps in all.
    """
    schedule = keras.optimizers.schedules.PolynomialDecay(
        settings.learning_rate, max(1, steps), end_learning_rate=0.0, power=_DECAY_POWER
    )
    optimizer = keras.optimizers.Adam(schedule, weight_decay=settings.weight_decay or None)
    # Searched for in the variable's name, which is its whole path on TensorFlow.
    optimizer.exclude_from_weight_decay(var_names=[r"\b(gamma|beta|bias)\b"])
    network.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=ignore_class),
        jit_compile=settings.keras_jit_compile,
    )
    return network
