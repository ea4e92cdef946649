"""The package holds the weights and samples of the models that have a card, and the cards."""

import pathlib

import setuptools

FILES = ("card.md", "model.weights.h5", "sample.npz")
cards = sorted(pathlib.Path(__file__).parent.glob("*/card.md"))
data = [f"{card.parent.name}/{name}" for card in cards for name in FILES]
# The script's name keeps it out of the package, whose folder is this one.
setuptools.setup(script_name=__file__, package_data={"keras_gappos_zoo": data})
