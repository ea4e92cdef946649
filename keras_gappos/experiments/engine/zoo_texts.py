"""What the zoo's cards say of an experiment's networks, in sentences made from its rows."""

LICENSES = {
    "cifar10": "CIFAR-10 comes without a license text.",
    "digits": "The Optical Recognition of Handwritten Digits data set, UCI, CC BY 4.0.",
    "camvid": "CamVid is for research use.",
    "shapes": "Made by this package, under its own license, MIT.",
}
_BLUR = "Its maps are blurred where they are halved (BlurPool: Zhang, ICML 2019)."
_POLYPHASE = (
    "Where its maps are halved, the larger ones of their pixels stay (adaptive polyphase sampling: "
    "Chaman and Dokmanic, CVPR 2021)."
)
_AUGSHIFT = (
    "Trained with AugShift: each image is shifted twice, by up to {shift}, and the distance "
    "between the two pooled latents is added to the loss, times {weight:g}{mirrored}."
)
_UNSHIFTED = "Trained on images that are not shifted{mirrored}."
_METHODS = {
    "resnet18": ["The plain network, trained on images that are not shifted{mirrored}."],
    "blurpool": [_BLUR, _UNSHIFTED],
    "augshift": [_AUGSHIFT],
    "shift": [
        "Trained on images that are each shifted once at random, by up to {shift}{mirrored}."
    ],
    "aps": [_POLYPHASE, _UNSHIFTED],
    "augshift_blurpool": [_BLUR, _AUGSHIFT],
    "augshift_aps": [_POLYPHASE, _AUGSHIFT],
}


def about_location(settings, row):
    """How a network of the location experiment was trained."""
    target = {"location": "the cell that the image is on", "class": "the image's class"}
    return (
        f"Trained to name {target[row['task']]}, on images on random cells of a "
        f"{row['grid_size']}x{row['grid_size']} grid{_mirrored(settings)}."
    )


def _mirrored(settings):
    return "; half of the images are mirrored" if settings["flip"] else ""


def about_invariance(settings, row):
    """How a network of the invariance experiment was trained."""
    size = settings.get("train_shift") or settings["max_shift"]
    shift = f"{size} pixel{'' if size == 1 else 's'}"
    fill_mode = settings.get("fill_mode", "constant")
    if fill_mode != "constant":
        shift += f" with fill mode {fill_mode!r} at the border"
    text = " ".join(_METHODS[row["method"]])
    weight = row.get("consistency_weight", 0.0)
    return text.format(shift=shift, weight=weight, mirrored=_mirrored(settings))


def about_attack(settings, row):
    """How a network of the attack experiment was trained."""
    how = "with half of the images mirrored" if row["flip"] else "without mirrored images"
    return f"Trained {how}. Its output stride is {settings['output_stride']}."


def measured_location(settings, row):
    """On what the accuracy was measured."""
    passes = row["test_passes"]
    often = "once" if passes == 1 else f"{passes} times"
    return f"Measured on {row['test_images']:,} test images, each {often}, on a random cell."


def measured_invariance(settings, row):
    """On what accuracy and consistency were measured, and how."""
    shift, images = settings["max_shift"], row["test_images"]
    return (
        f"Top-1 is of {images:,} test images as they are. Shifts are of up to {shift} pixels down "
        f"and across, with 0 in the network's input coming in. Random pairs are "
        f"{settings['pairs']} for each of these images; what is said of all shifts, or pairs, is "
        f"of all {(2 * shift + 1) ** 2} shifts of the first {row['consistency_images']:,} images, "
        "to which top-1 is not to be compared. ± is the standard error over images."
    )


def measured_attack(settings, row):
    """On what the segmentation was scored."""
    height, width, _ = row["image_shape"]
    return (
        f"Measured on {row['test_images']:,} images of {height}x{width} pixels that it was not "
        "trained on; pixels of no class are left out."
    )
