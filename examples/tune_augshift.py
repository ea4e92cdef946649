"""Search AugShift's settings for your data with KerasTuner.

    python examples/tune_augshift.py

Hyperband trains small ResNets on handwritten digits: most of them briefly, the best ones longer.
The objective is the most consistent network whose accuracy is within one point of the best. The
best settings are then trained on all training images and compared with the defaults on unseen
ones. An interrupted search resumes from the folder `tuning`; delete it to start over.

About 2.5 minutes on 2 cores. Which settings are found, and their scores, differ between machines,
since rounding errors grow in training.
"""

import keras_tuner

import keras_gappos as kg

MAX_SHIFT = 1  # pixels, in what is compared
SPACE = {
    "max_shift": [1, 2],
    "consistency_weight": (0.1, 30.0),
    "learning_rate": (0.02, 0.3),
    "batch_size": [32, 64],
    "downsampling": ["stride", "polyphase"],
    "width": 8,
    "fill_mode": "constant",
    "flip": False,
}
EPOCHS, TRAIN = 6, 1100  # training images; the rest is held out


def main():
    images, labels = kg.data.load("digits", "train")
    test_images, test_labels = kg.data.load("digits", "test")
    images, test_images = images / 255, test_images / 255
    hypermodel = kg.tuning.AugShiftHyperModel((8, 8, 1), 10, SPACE, measure_shift=MAX_SHIFT)
    tuner = kg.tuning.make_tuner("hyperband", hypermodel, "consistency_above_floor", epochs=EPOCHS)
    held_out = images[TRAIN:], labels[TRAIN:]
    tuner.search(images[:TRAIN], labels[:TRAIN], validation_data=held_out, verbose=0)

    defaults, best = keras_tuner.HyperParameters(), tuner.get_best_hyperparameters()[0]
    print("on unseen digits, over all shifts of up to 1 pixel, in percent")
    print("            consistency accuracy  settings")
    for name, settings in (("defaults", defaults), ("found", best)):
        model = hypermodel.build(settings)
        hypermodel.fit(
            settings, model, images, labels, validation_data=held_out, epochs=EPOCHS, verbose=0
        )
        result = kg.analysis.shift_consistency(
            model.model, test_images, "exact", MAX_SHIFT, labels=test_labels, progress=False
        )
        values = {key: settings[key] for key in SPACE if isinstance(SPACE[key], (list, tuple))}
        print(f"{name:11} {result.consistency:11.1f} {result.accuracy:8.1f}  {values}")
    model.model.save("tuned_classifier.keras")


if __name__ == "__main__":
    main()
