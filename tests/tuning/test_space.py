import keras_tuner
import numpy as np
import pytest

from keras_gappos.tuning.space import Choices, Range, format_space, narrow, parse_space

SPACE = {
    "shift": Range(1, 8, 4, "in pixels", is_integer=True, least=1, most=12),
    "rate": Range(0.01, 1.0, 0.1, "of learning", most=10.0),
    "width": Choices((8, 16, 32), 16, "channels"),
    "batch": Choices((32, 64), 32, "images", least=1),
    "flip": Choices((True, False), True, "mirror"),
    "stem": Choices(("cifar", "canvas"), "cifar", "first layers", searched=False),
}


def declared(space, tries=200):
    """The values that each setting takes in many random trials."""
    hp = keras_tuner.HyperParameters()
    first = {name: dimension.declare(hp, name) for name, dimension in space.items()}
    values = {name: [value] for name, value in first.items()}
    for seed in range(tries):
        for entry in hp.space:
            values[entry.name].append(entry.random_sample(seed))
    return first, values


def test_a_trial_without_choices_has_the_defaults():
    first, _ = declared(SPACE, tries=0)
    assert first == {
        "shift": 4,
        "rate": 0.1,
        "width": 16,
        "batch": 32,
        "flip": True,
        "stem": "cifar",
    }


def test_random_values_fill_the_space_and_keep_their_types():
    _, values = declared(SPACE)
    assert set(values["shift"]) == set(range(1, 9))
    assert set(values["width"]) == {8, 16, 32}
    assert {(value, type(value)) for value in values["flip"]} == {(True, bool), (False, bool)}
    assert set(values["stem"]) == {"cifar"}  # it is searched only where it is named
    assert 0.01 <= min(values["rate"]) < 0.02 and 0.5 < max(values["rate"]) <= 1.0
    assert sum(value < 0.1 for value in values["rate"]) == pytest.approx(100, abs=30)  # a log scale


def test_a_narrowed_space_holds_nothing_else():
    given = {"shift": (2, 3), "rate": [0.05, 0.2], "width": 8, "stem": ["canvas", "cifar"]}
    _, values = declared(narrow(SPACE, given))
    assert {name: set(values[name]) for name in given} == {
        "shift": {2, 3},
        "rate": {0.05, 0.2},
        "width": {8},
        "stem": {"canvas", "cifar"},
    }


def test_values_other_than_the_suggested_ones_may_be_named():
    given = {"batch": [16, 48], "shift": (9, 12), "rate": (1e-5, 1e-4), "width": 32}
    first, values = declared(narrow(SPACE, given))
    assert set(values["batch"]) == {16, 48} and set(values["shift"]) == {9, 10, 11, 12}
    assert min(values["rate"]) >= 1e-5 and max(values["rate"]) <= 1e-4
    assert (first["batch"], first["shift"], first["rate"]) == (16, 9, 1e-4)
    assert declared(narrow(SPACE, {"rate": 0, "batch": 1}), 0)[0]["rate"] == 0


def test_defaults_stay_in_what_is_left():
    space = narrow(SPACE, {"shift": (6, 8), "rate": (0.2, 0.5), "width": [8, 32], "flip": False})
    first, _ = declared(space, tries=0)
    assert (first["shift"], first["rate"], first["width"], first["flip"]) == (6, 0.2, 8, False)


def test_one_value_is_among_a_trials_values():
    hp = keras_tuner.HyperParameters()
    narrow(SPACE, {"shift": (3, 3)})["shift"].declare(hp, "shift")
    assert hp.values == {"shift": 3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shfit": 3}, "Did you mean 'shift'"),
        ({"width": 12}, r"`space\['width'\]` must be in \(8, 16, 32\). Received: 12"),
        ({"width": [8, 64]}, "must be in"),
        ({"width": (8, 16)}, "a value or a list of values"),
        ({"width": []}, "must have a value"),
        ({"width": 16.0}, "must be in"),
        ({"flip": 1}, "must be in"),
        ({"shift": []}, "must have a value"),
        ({"shift": (3, 2)}, "low <= high"),
        ({"shift": (0, 4)}, r"integers in \[1, 12\].*Received: \(0, 4\)"),
        ({"shift": 2.5}, "integers in"),
        ({"shift": True}, "integers in"),
        ({"shift": (1, 2, 3)}, r"must be \(low, high\)"),
        ({"shift": 13}, "integers in"),
        ({"batch": 0}, r"integers of at least 1, such as \(32, 64\). Received: 0"),
        ({"batch": 16.0}, "integers of at least 1"),
        ({"batch": (8, 16)}, "a value or a list of values, integers of at least 1"),
        ({"rate": 20.0}, r"numbers in \[0, 10.0\]"),
        ({"rate": (0, 1.0)}, "0 < low <= high"),
        ({"rate": float("nan")}, "numbers in"),
        ({"rate": "high"}, "numbers in"),
        ({"rate": [0.1, "high"]}, "numbers in"),
        ({"width": [[8]]}, "must be in"),
        (["width=8"], r"must be a dictionary .* Received: \['width=8'\]"),
    ],
)
def test_an_invalid_narrowing_raises_an_error(given, message):
    with pytest.raises(ValueError, match=message):
        narrow(SPACE, given)


def test_numbers_may_come_from_numpy():
    space = narrow(SPACE, {"width": list(np.array([8, 16])), "shift": np.int64(2)})
    assert [(v, type(v)) for v in (*space["width"].values, *space["shift"].values)] == [
        (8, int),
        (16, int),
        (2, int),
    ]


def test_the_command_lines_spelling():
    items = ["width=8,16", "rate=0.03:0.3", "stem=canvas", "flip=false", "shift=4", "x=1e-3"]
    assert parse_space(items) == {
        "width": [8, 16],
        "rate": (0.03, 0.3),
        "stem": "canvas",
        "flip": False,
        "shift": 4,
        "x": 0.001,
    }


@pytest.mark.parametrize(
    "items",
    [
        ["width"],
        ["=3"],
        ["width="],
        ["width=8", "width=16"],
        ["width=8,"],
        ["rate=0.1:"],
        ["rate=1:2:3"],
    ],
)
def test_any_other_form_is_rejected(items):
    with pytest.raises(ValueError, match="NAME=LOW:HIGH.*Received: " + repr(items[-1])):
        parse_space(items)


def test_the_table_names_values_and_defaults():
    lines = format_space(SPACE)
    assert lines[2] == "| `shift` | 1 to 8 | 4 | in pixels |"
    assert lines[3] == "| `rate` | 0.01 to 1 (log) | 0.1 | of learning |"
    assert lines[7] == "| `stem` | cifar, canvas | cifar | first layers; if named |"
