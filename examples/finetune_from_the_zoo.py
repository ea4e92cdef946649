"""Fine-tune a pretrained network on other images, and make it consistent under shifts.

    python examples/finetune_from_the_zoo.py

A ResNet-18 that was trained on the photographs of CIFAR-10 gets a new last layer and learns
handwritten digits: first as they are, then with AugShift, which pulls the pooled vectors of two
shifted copies of each image together. For images of your own, replace `digits`.

About 2 minutes on 2 cores.
"""

import keras
import numpy as np

import keras_gappos as kg

MAX_SHIFT = 4  # pixels


def digits(split):
    """Digits of 24x24 pixels in the middle of black RGB images, `(n, 32, 32, 3)`, and labels."""
    images, labels = kg.data.load("digits", split)
    images = images.repeat(3, axis=1).repeat(3, axis=2).repeat(3, axis=3)
    return np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0))), labels


def train(model, images, labels, epochs):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss, metrics=["accuracy"])
    return model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)


def report(name, model, images, labels):
    result = kg.analysis.shift_consistency(model, images, max_shift=MAX_SHIFT, labels=labels)
    print(f"{name:15} {result.consistency:11.1f} {result.accuracy:8.1f}")


def main():
    keras.utils.set_random_seed(0)
    # With its preprocessing inside, the network takes raw images, in which 0 is black.
    network = kg.zoo.load("resnet18.cifar10_unshifted", num_classes=10, preprocessing=True)
    (images, labels), test = digits("train"), digits("test")
    print("on unseen digits, over random shifts of up to 4 pixels, in percent")
    print("                consistency accuracy")
    train(network, images, labels, epochs=3)
    report("fine-tuned", network, *test)
    train(kg.AugShift(network, MAX_SHIFT, consistency_weight=10.0), images, labels, epochs=3)
    report("then AugShift", network, *test)
    network.save("finetuned.keras")


if __name__ == "__main__":
    main()
