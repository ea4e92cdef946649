import keras
import keras_tuner
import pytest

import keras_gappos as kg
from keras_gappos.tuning.grid_net import GRID_NET_SPACE, PERMUTATION_SPACE
from keras_gappos.tuning.space import format_space
from tests.tuning.small_networks import IMAGES, LABELS, VALIDATION, SmallGridNet


def test_the_docstrings_table_is_the_space():
    table = "\n".join(format_space(GRID_NET_SPACE | PERMUTATION_SPACE))
    lines = kg.tuning.GridNetHyperModel.__doc__.splitlines()
    assert "\n".join(line.strip() for line in lines if line.startswith("    |")) == table


def built(*arguments, **settings):
    hypermodel = kg.tuning.GridNetHyperModel((8, 8, 1), 10, *arguments, **settings)
    hp = keras_tuner.HyperParameters()
    return hypermodel.build(hp), hp.values


def test_gapnets_settings_reach_its_model():
    task, values = built(grid_size=2, task="class", space={"width": 8, "learning_rate": 0.002})
    assert (task.grid_size, task.task, task.model.name) == (2, "class", "gapnet")
    assert (task.model.input_shape, task.model.output_shape) == ((None, 16, 16, 1), (None, 10))
    assert task.model.get_layer("stem_conv").filters == 8
    assert isinstance(task.optimizer, keras.optimizers.Adam) and task.optimizer.beta_1 == 0.5
    assert float(task.optimizer.learning_rate) == pytest.approx(0.002)
    assert values == {
        "learning_rate": 0.002,
        "batch_size": 48,
        "width": 8,
        "depth": 18,
        "flip": True,
    }


def test_permutenets_settings_reach_its_model():
    task, values = built("permutenet", space={"width": 8, "permute_at": "stage2", "mode": "fixed"})
    assert task.model.output_shape == (None, 9)
    permutation = task.model.get_layer("permutation")
    assert (permutation.mode, permutation.seed) == ("fixed", 1)
    stage = task.model.get_layer("stage2_block2_relu2")
    assert permutation.input is stage.output
    assert (values["permute_at"], values["mode"]) == ("stage2", "fixed")
    assert built("permutenet", space={"width": 8})[1]["permute_at"] == "pool"


@pytest.mark.slow
def test_a_random_search_stays_in_its_space_and_reports_accuracy(tmp_path):
    hypermodel = SmallGridNet({"learning_rate": (1e-3, 1e-2)}, task="class")
    tuner = keras_tuner.RandomSearch(hypermodel, "val_accuracy", 2, seed=1, directory=tmp_path)
    tuner.search(IMAGES, LABELS, validation_data=VALIDATION, verbose=0)
    trials = tuner.oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * 2
    for trial in trials:
        values = trial.hyperparameters.values
        assert values.keys() == GRID_NET_SPACE.keys()
        assert 1e-3 <= values["learning_rate"] <= 1e-2 and values["width"] in (8, 16)
        correct = trial.score * len(VALIDATION[0])
        assert 0 <= trial.score <= 1 and correct == pytest.approx(round(correct), abs=1e-4)


def test_a_network_learns_where_images_are_with_its_trials_learning_rate():
    hypermodel = SmallGridNet({"learning_rate": 0.01, "width": 16}, epochs=5)
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    history = hypermodel.fit(hp, model, IMAGES, LABELS, VALIDATION, verbose=0).history
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert history["loss"][-1] < history["loss"][0] - 0.05, history["loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (8, 8)}, r"`image_shape` must be \(height, width, channels\)"),
        ({"network": "gapnett"}, "Did you mean 'gapnet'"),
        ({"task": "place"}, "`task` must be one of"),
        ({"grid_size": 0}, "`grid_size` must be an integer of at least 1"),
        ({"num_classes": 1}, "`num_classes` must be an integer of at least 2"),
        ({"space": {"permute_at": "pool"}}, "`space` must be one of"),
        ({"network": "permutenet", "space": {"mode": "none"}}, r"`space\['mode'\]` must be in"),
        ({"space": {"learning_rate": (-1.0, 2.0)}}, r"must be numbers of at least 1e-08"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        kg.tuning.GridNetHyperModel(**{"image_shape": (8, 8, 1), "num_classes": 10, **arguments})
