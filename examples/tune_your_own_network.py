"""Search AugShift's settings, and your network's own, for a network of `keras.applications`.

    python examples/tune_your_own_network.py

The network is a MobileNet, and its own setting is its width. Three random trials train it on
handwritten digits of 32x32 pixels, each twice shifted by up to 4 pixels. The best trial is the most
consistent one whose accuracy is within two points of the best. An interrupted search resumes from
the folder `tuning_mobilenet`; delete it to start over.

About 2 minutes on 2 cores. Expect about 80 % of consistency and of accuracy on unseen digits;
they differ between machines, since rounding errors grow in training.
"""

import keras

import keras_gappos as kg

SPACE = {  # what is not named here is searched in its usual range
    "max_shift": (2, 4),
    "consistency_weight": (0.1, 10.0),
    "learning_rate": (0.03, 0.2),
    "batch_size": [16, 24],
    "fill_mode": "constant",
    "flip": False,  # digits mean something else in a mirror
}
MAX_SHIFT, TRAIN = 4, 900  # pixels, in the scores; training images, the rest is held out


def build(hp):
    """A classifier for a trial: logits or probabilities, with a global pooling layer."""
    alpha = hp.Choice("alpha", [0.25, 0.5])
    network = keras.applications.MobileNet((32, 32, 1), alpha=alpha, weights=None, classes=10)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # the default is for longer trainings
    return network


def digits(split, limit=None):
    images, labels = kg.data.load("digits", split, size=(32, 32), limit=limit)
    return images / 255, labels


def tune(network, images, labels, trials, epochs):
    """Searches; returns the best model, a trained `AugShift`, and its settings."""
    hypermodel = kg.tuning.AugShiftHyperModel(space=SPACE, measure_shift=MAX_SHIFT, network=network)
    tuner = kg.tuning.make_tuner(
        "random",
        hypermodel,
        "consistency_above_floor",
        directory="tuning_mobilenet",
        trials=trials,
        epochs=epochs,
        tolerance=2.0,
    )
    held_out = images[TRAIN:], labels[TRAIN:]
    tuner.search(images[:TRAIN], labels[:TRAIN], validation_data=held_out, verbose=0)
    return tuner.get_best_models(1)[0], tuner.get_best_hyperparameters(1)[0].values


def main():
    best, settings = tune(build, *digits("train", limit=1100), trials=3, epochs=5)
    images, labels = digits("test")
    result = kg.analysis.shift_consistency(
        best.model, images, max_shift=MAX_SHIFT, labels=labels, progress=False
    )
    print(f"best settings: {settings}")
    print(f"unseen digits: {result.consistency:.1f} % consistent under random shifts")
    print(f"               {result.accuracy:.1f} % accurate, over the same shifts")
    best.model.save("tuned_mobilenet.keras")


if __name__ == "__main__":
    main()
