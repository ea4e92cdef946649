"""Data sets by name, as NumPy arrays."""

from keras_gappos.data.loading import load
from keras_gappos.data.segmentation_batches import SegmentationBatches
from keras_gappos.data.segmentation_sets import SegmentationInfo, segmentation_info

__all__ = ["SegmentationBatches", "SegmentationInfo", "load", "segmentation_info"]
