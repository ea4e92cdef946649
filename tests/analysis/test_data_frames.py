"""`to_dataframe` of the results that are tables."""

import sys

import numpy as np
import pytest

from keras_gappos.analysis import (
    AblationSweep,
    ConsistencyResult,
    FeatureConsistency,
    LayerConsistency,
)

ROWS = [{"ranking": "left", "count": n, "region": "whole", "miou": 80.0 - n} for n in (0, 8)]
MAP = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, np.nan]])
SHIFTS = ConsistencyResult(
    90.0, 1.0, (), 3.0, 1.0, MAP, (-1, 0), (-1, 0, 1), 10, 3, "top-1 class", {}
)
LAYERS = FeatureConsistency((LayerConsistency("conv", (1, 1), 0.0, 0.1),), 10, {})


@pytest.mark.parametrize("result", [AblationSweep(ROWS), SHIFTS, LAYERS])
def test_without_pandas_the_error_says_what_to_install(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # importing it fails now
    with pytest.raises(ImportError, match="`to_dataframe` needs pandas: pip install pandas"):
        result.to_dataframe()


def test_the_frames_have_what_the_results_have():
    pytest.importorskip("pandas")
    frame = AblationSweep(ROWS).to_dataframe()
    assert frame.to_dict("records") == ROWS
    frame = SHIFTS.to_dataframe()
    assert (frame.index.name, frame.columns.name) == ("down", "right")
    assert frame.loc[0, -1] == 4.0
    np.testing.assert_array_equal(frame, MAP)
    frame = LAYERS.to_dataframe()
    assert frame.loc[0, "layer"] == "conv" and frame.loc[0, "any_shift"] == 0.1
