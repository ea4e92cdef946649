import pytest

from keras_gappos.experiments.engine.paper import compares_with_paper

ROW = {"dataset": "cifar10", "width": 32, "epochs": 20, "train_images": 50_000}


@pytest.mark.parametrize(
    ("changes", "compares"),
    [
        ({}, True),
        ({"width": 64, "epochs": 100}, True),
        ({"dataset": "cifar100"}, True),
        ({"dataset": "cifar10:3.0.2"}, True),
        ({"dataset": "digits"}, False),
        ({"width": 16}, False),
        ({"epochs": 19}, False),
        ({"train_images": 49_999}, False),
    ],
)
def test_the_papers_numbers_stand_where_data_width_and_epochs_compare(changes, compares):
    assert compares_with_paper(ROW | changes, ("cifar10", "cifar100")) == compares


@pytest.mark.parametrize("missing", ROW)
def test_what_is_not_known_does_not_compare(missing):
    row = {name: value for name, value in ROW.items() if name != missing}
    assert not compares_with_paper(row, ("cifar10",))
