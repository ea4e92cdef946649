"""Measurements on any trained Keras model."""

from keras_gappos.analysis.batches import iterate_batches
from keras_gappos.analysis.channels.ablation import ablate, ablation_sweep
from keras_gappos.analysis.channels.channel_ranking import ChannelRanking
from keras_gappos.analysis.channels.label_channels import rank_channels_by_label
from keras_gappos.analysis.channels.ranking import mean_color, rank_channels
from keras_gappos.analysis.confusion_matrix import ConfusionMatrix
from keras_gappos.analysis.consistency.measure import shift_consistency
from keras_gappos.analysis.consistency.metric import ShiftConsistencyMetric, ShiftPairs
from keras_gappos.analysis.consistency.result import ConsistencyResult
from keras_gappos.analysis.segmentation import (
    RegionScores,
    segmentation_scores,
)

__all__ = [
    "ChannelRanking",
    "ConfusionMatrix",
    "ConsistencyResult",
    "RegionScores",
    "ShiftConsistencyMetric",
    "ShiftPairs",
    "ablate",
    "ablation_sweep",
    "iterate_batches",
    "mean_color",
    "rank_channels",
    "rank_channels_by_label",
    "segmentation_scores",
    "shift_consistency",
]
