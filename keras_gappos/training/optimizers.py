"""SGD whose learning rate rises, then falls to 0."""

from __future__ import annotations

import keras


def warmup_cosine_sgd(
    learning_rate: float,
    batch_size: int,
    steps: int,
    warmup: float = 0.05,
    weight_decay: float = 5e-3,
) -> keras.optimizers.SGD:
    """SGD with momentum 0.9 (Nesterov) and a learning rate that rises, then falls to 0.

    Args:
        learning_rate, batch_size, steps, warmup: as in `annealed_learning_rate`.
        weight_decay: each step takes this times the learning rate off the kernels, not off biases
            and batch normalization; it bypasses the momentum. At least 0.

    Returns:
        A `keras.optimizers.SGD`.

    Examples:
        >>> optimizer = warmup_cosine_sgd(0.1, batch_size=64, steps=100)
        >>> round(float(optimizer.learning_rate), 6)
        0.0
    """
    schedule = annealed_learning_rate(learning_rate, batch_size, steps, warmup)
    optimizer = keras.optimizers.SGD(
        schedule, momentum=0.9, nesterov=True, weight_decay=weight_decay or None
    )
    # Searched for in the variable's name, which is its whole path on TensorFlow.
    optimizer.exclude_from_weight_decay(var_names=[r"\b(gamma|beta|bias)\b"])
    return optimizer


def annealed_learning_rate(learning_rate: float, batch_size: int, steps: int, warmup: float = 0.05):
    """A learning rate that rises linearly in the first steps and then falls to 0 as a cosine.

    Args:
        learning_rate: the highest one for a batch of 128; it is scaled in proportion for others.
        batch_size: number of images in a step.
        steps: number of training steps in all; the learning rate is 0 after them.
        warmup: share of the steps in which the learning rate rises, in [0, 1); at least one step.

    Returns:
        A `keras.optimizers.schedules.LearningRateSchedule`.

    Examples:
        >>> schedule = annealed_learning_rate(0.1, batch_size=64, steps=100)
        >>> [round(float(schedule(step)), 4) for step in (0, 5, 100)]
        [0.0, 0.05, 0.0]
    """
    rising = min(max(1, round(warmup * steps)), max(1, steps - 1))
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - rising),
        warmup_target=learning_rate * batch_size / 128,
        warmup_steps=rising,
    )
