"""Measurements on any trained Keras model."""

from keras_gappos.analysis.batches import iterate_batches
from keras_gappos.analysis.consistency import shift_consistency
from keras_gappos.analysis.consistency_metric import ShiftConsistencyMetric, ShiftPairs
from keras_gappos.analysis.consistency_result import ConsistencyResult

__all__ = [
    "ConsistencyResult",
    "ShiftConsistencyMetric",
    "ShiftPairs",
    "iterate_batches",
    "shift_consistency",
]
