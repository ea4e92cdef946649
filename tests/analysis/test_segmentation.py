import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from keras_gappos.analysis import ConfusionMatrix, RegionScores, segmentation_scores
from keras_gappos.analysis.regions import PARTS, region_slices

IGNORED = 4
TRUTH = np.array([[0, 0, 1, 1], [2, 2, 1, 4]])
PREDICTED = np.array([[0, 1, 1, 1], [2, 0, 0, 3]])
# Of three classes, ignored pixels left out: row true, column predicted.
MATRIX = [[1, 1, 0], [1, 2, 0], [1, 0, 1]]

LABELS = st_numpy.arrays(
    "int32", st.tuples(st.just(2), st.integers(1, 40)), elements=st.integers(0, 4)
)


def confusion(truth, predicted, num_classes=4, ignore_class=None):
    matrix = ConfusionMatrix(num_classes, ignore_class)
    matrix.add(truth, predicted)
    return matrix


def test_a_case_computed_by_hand():
    matrix = confusion(TRUTH, PREDICTED, 4, IGNORED)
    np.testing.assert_array_equal(matrix.matrix[:3, :3], MATRIX)
    assert matrix.matrix.sum() == 7
    # 1 of 4 pixels that are 0 in either, 2 of 4, 1 of 2; class 3 is predicted on ignored ones.
    np.testing.assert_array_equal(matrix.iou, [25, 50, 50, np.nan])
    assert matrix.miou == pytest.approx(125 / 3)
    assert matrix.accuracy == pytest.approx(100 * 4 / 7)


@settings(deadline=None, max_examples=15)
@given(LABELS, st.sampled_from([None, 0, 4]))
def test_equals_the_metric_of_keras(labels, ignore_class):
    truth, predicted = labels
    predicted = np.minimum(predicted, 3) if ignore_class == 4 else predicted
    num_classes = 4 if ignore_class == 4 else 5
    metric = keras.metrics.MeanIoU(num_classes, ignore_class=ignore_class)
    metric.update_state(truth, predicted)
    matrix = confusion(truth, predicted, num_classes, ignore_class)
    expected = np.asarray(metric.total_cm)
    np.testing.assert_array_equal(matrix.matrix, expected)
    if matrix.matrix.sum():
        assert matrix.miou == pytest.approx(100 * float(metric.result()), rel=1e-5)
    else:
        assert np.isnan(matrix.miou)
        assert np.isnan(matrix.accuracy)


@given(LABELS, st.permutations(range(5)))
def test_is_the_same_whatever_the_order_of_pixels_and_the_names_of_classes(labels, names):
    truth, predicted = labels
    before = confusion(truth, predicted, 5)
    renamed = confusion(np.array(names)[truth][::-1], np.array(names)[predicted][::-1], 5)
    np.testing.assert_array_equal(renamed.iou[names], before.iou)
    np.testing.assert_allclose(renamed.miou, before.miou)
    assert renamed.accuracy == before.accuracy


@given(LABELS)
def test_perfect_predictions_score_100_and_counts_add_up(labels):
    truth, predicted = labels
    assert confusion(truth, truth, 5).miou == confusion(truth, truth, 5).accuracy == 100
    parts = confusion(truth[:3], predicted[:3], 5)
    parts.add(truth[3:], predicted[3:])
    np.testing.assert_array_equal(parts.matrix, confusion(truth, predicted, 5).matrix)
    assert parts.accuracy == pytest.approx(100 * (truth == predicted).mean())


@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "bool"])
def test_takes_integers_of_any_kind(dtype):
    truth, predicted = np.array([[0, 1, 1], [0, 1, 0]]).astype(dtype)
    assert confusion(truth, predicted, 2).matrix.tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    "truth, predicted, message",
    [
        ([0, 5], [0, 0], r"`truth` must be in \[0, 4\) or 4, ignored. Received: a label of 5"),
        ([0, -1], [0, 0], r"`truth` must be in .*a label of -1"),
        ([0, 1], [0, 4], r"`predicted` must be in .*a label of 4"),
        ([0, 1], [0], r"`predicted` must have the shape of `truth`.*\(1,\) and \(2,\)"),
        ([0.0, 1.0], [0, 1], "`truth` must be class indices, integers.*float64"),
    ],
)
def test_labels_that_do_not_fit_are_named_and_not_counted(truth, predicted, message):
    matrix = ConfusionMatrix(4, IGNORED)
    with pytest.raises(ValueError, match=message):
        matrix.add(np.array(truth), np.array(predicted))
    assert not matrix.matrix.any()


@pytest.mark.parametrize("width", [6, 7])
def test_halves_mirror_each_other_and_leave_the_middle_out(width):
    index = np.arange(width)
    _, left = region_slices("left", 4, width)
    _, right = region_slices("right", 4, width)
    np.testing.assert_array_equal(index[left], [0, 1, 2])
    np.testing.assert_array_equal(index[::-1][right], [2, 1, 0])
    assert region_slices("top", width, 4) == (left, slice(0, 4))
    assert region_slices("bottom", width, 4) == (right, slice(0, 4))


def test_each_region_counts_its_own_pixels():
    scores = RegionScores(4, IGNORED, PARTS)
    scores.add(TRUTH[None], PREDICTED[None])
    for region in PARTS:
        rows, columns = region_slices(region, 2, 4)
        expected = confusion(TRUTH[rows, columns], PREDICTED[rows, columns], 4, IGNORED)
        np.testing.assert_array_equal(scores[region].matrix, expected.matrix)
        assert scores.miou[region] == expected.miou
    assert scores["left"].matrix.sum() + scores["right"].matrix.sum() == 7


@given(st.data())
def test_regions_count_as_their_slices_do_whatever_is_ignored(data):
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    ignore_class = data.draw(st.sampled_from([None, 0, 2, IGNORED]))
    elements = st.integers(0, IGNORED if ignore_class == IGNORED else IGNORED - 1)
    truth = data.draw(st_numpy.arrays("uint8", shape, elements=elements))
    predicted = data.draw(st_numpy.arrays("int32", shape, elements=st.integers(0, IGNORED - 1)))
    if ignore_class is not None:
        predicted[truth == ignore_class] += 7  # no class, but nobody looks there
    scores = RegionScores(IGNORED, ignore_class, PARTS)
    for part in (slice(0, 1), slice(1, None)):
        scores.add(truth[part], predicted[part])
    for region in PARTS:
        part = (..., *region_slices(region, *shape[1:]))
        expected = confusion(truth[part], predicted[part], IGNORED, ignore_class)
        np.testing.assert_array_equal(scores[region].matrix, expected.matrix)


def test_maps_that_do_not_fit_are_named_and_not_counted():
    scores = RegionScores(4, IGNORED)
    for truth, predicted, message in [
        (
            [[0, -1]],
            [[0, 0]],
            r"`truth` must be in \[0, 4\) or 4, ignored. Received: a label of -1",
        ),
        ([[0, 4]], [[4, 9]], r"`predicted` must be in .*a label of 4"),
        ([0, 1], [0, 1], r"one shape \(..., height, width\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            scores.add(np.array(truth), np.array(predicted))
    assert not scores["whole"].matrix.any()


@pytest.mark.parametrize("regions", ["left", (), ("middle",)])
def test_regions_that_are_none_are_refused(regions):
    with pytest.raises(ValueError, match="`regions` must be"):
        RegionScores(4, regions=regions)


def nearest_color_net(classes=3):
    """Gives each pixel the class whose number is closest to its value."""
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(classes, 1, name="classes")(inputs)
    model = keras.Model(inputs, outputs)
    centres = np.arange(classes, dtype="float32")
    model.get_layer("classes").set_weights([2 * centres.reshape(1, 1, 1, -1), -(centres**2)])
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_scores_a_network_batch_by_batch(jit_compile):
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 4, (5, 6, 8)), rng.integers(0, 3, (5, 6, 8))
    model = nearest_color_net()
    model.compile(jit_compile=jit_compile)
    images = predicted[..., None].astype("float32")
    expected = RegionScores(3, 3)
    expected.add(truth, predicted)
    for data in [(images, truth), (images, truth[..., None])]:
        scores = segmentation_scores(model, *data, ignore_class=3, batch_size=2)
        assert scores.miou == expected.miou
    stream = [(images[:4], truth[:4]), (images[4:], truth[4:])]
    assert segmentation_scores(model, stream, ignore_class=3).miou == expected.miou


@pytest.mark.parametrize(
    "images, masks, message",
    [
        (np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 5), int), r"`masks` must be of the size.*4, 5"),
        (np.zeros((2, 4, 4, 1)), np.full((2, 4, 4), 3), r"`truth` must be in \[0, 3\)"),
        (np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4)), "`masks` must be class indices"),
        (np.zeros((2, 4, 4, 1)), None, "`masks` are needed"),
    ],
)
def test_masks_that_do_not_fit_are_named(images, masks, message):
    with pytest.raises(ValueError, match=message):
        segmentation_scores(nearest_color_net(), images, masks)


@pytest.mark.parametrize(("classes", "threshold"), [(1, None), (3, 0.5)])
def test_a_threshold_is_for_one_output_per_pixel_and_needed_there(classes, threshold):
    data = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4), int)
    with pytest.raises(ValueError, match=rf"`threshold` is needed.*\(None, None, None, {classes}"):
        segmentation_scores(nearest_color_net(classes), *data, threshold=threshold)


def test_a_model_that_gives_no_maps_or_nan_is_refused():
    classifier = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    images, masks = np.zeros((1, 4, 4, 1)), np.zeros((1, 4, 4), int)
    with pytest.raises(ValueError, match=r"one output \(batch, height, width, classes\).*16"):
        segmentation_scores(classifier, images, masks)
    broken = nearest_color_net()
    kernel, bias = broken.get_layer("classes").get_weights()
    broken.get_layer("classes").set_weights([kernel, bias * np.nan])
    with pytest.raises(ValueError, match="a model that gives NaN"):
        segmentation_scores(broken, images, masks)
