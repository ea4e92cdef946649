import numpy as np
import pytest

from keras_gappos.experiments.attack.data import distinct_colors, distinct_scenes


def test_scenes_of_a_figure_differ_although_most_images_are_of_one():
    street = np.zeros((180, 240), int)
    park, river, bend = street + 1, street.copy(), street.copy()
    river[:, :120], bend[:, :40] = 2, 3
    masks = np.stack([street, street, bend, street, park, street, river, street])
    assert distinct_scenes(masks, 3).tolist() == [0, 4, 6]
    assert distinct_scenes(masks, 4).tolist() == [0, 2, 4, 6]


@pytest.mark.parametrize("masks", [np.zeros((1, 2, 3)), np.zeros((5, 2, 3))])
def test_scenes_that_are_the_same_are_shown_once(masks):
    assert distinct_scenes(masks, 3).tolist() == [0]


def test_unknown_classes_get_colors_that_differ():
    assert len(set(distinct_colors(19))) == 19
