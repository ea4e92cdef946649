"""Measurements on any trained Keras model."""

from keras_gappos.analysis.batches import iterate_batches
from keras_gappos.analysis.channels.ablation import ablation_sweep
from keras_gappos.analysis.channels.label_channels import rank_channels_by_label
from keras_gappos.analysis.channels.position_channels import mean_color, rank_channels
from keras_gappos.analysis.channels.ranking import ChannelRanking
from keras_gappos.analysis.channels.sweep import AblationSweep
from keras_gappos.analysis.consistency.callback import ShiftConsistencyCallback
from keras_gappos.analysis.consistency.features import (
    FeatureConsistency,
    LayerConsistency,
    feature_consistency,
)
from keras_gappos.analysis.consistency.measure import shift_consistency
from keras_gappos.analysis.consistency.metric import ShiftConsistencyMetric, ShiftPairs
from keras_gappos.analysis.consistency.result import ConsistencyResult
from keras_gappos.analysis.consistency.segmentation import (
    SegmentationConsistency,
    segmentation_consistency,
)
from keras_gappos.analysis.segmentation import (
    ConfusionMatrix,
    RegionScores,
    segmentation_scores,
)
from keras_gappos.surgery.channels import ablate

__all__ = [
    "AblationSweep",
    "ChannelRanking",
    "ConfusionMatrix",
    "ConsistencyResult",
    "FeatureConsistency",
    "LayerConsistency",
    "RegionScores",
    "feature_consistency",
    "SegmentationConsistency",
    "ShiftConsistencyCallback",
    "ShiftConsistencyMetric",
    "ShiftPairs",
    "ablate",
    "ablation_sweep",
    "iterate_batches",
    "mean_color",
    "rank_channels",
    "rank_channels_by_label",
    "segmentation_consistency",
    "segmentation_scores",
    "shift_consistency",
]
