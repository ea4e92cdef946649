"""Batch normalization by TensorFlow's fused operation, which makes training steps faster."""

import keras


class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, in training by one operation of TensorFlow.

    Keras 3 computes moments and normalization by many operations, each of which reads or writes the
    whole feature map. This layer has the stock layer's weights, and its results to the precision of
    floats. It is for the copy of a network that is trained, never for a network that is saved. It
    has the stock layer's name, by which Keras finds weights in a file: a backup of one is loaded
    into the other.
    """

    def call(self, inputs, training=None, mask=None):
        """Normalizes with the batch's moments and updates the moving ones, if training."""
        fusable = mask is None and len(inputs.shape) == 4 and self.axis in (-1, 3)
        if not (training and self.trainable and self.scale and self.center and fusable):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=keras.ops.cast(inputs, self.compute_dtype),
            scale=keras.ops.cast(self.gamma, "float32"),
            offset=keras.ops.cast(self.beta, "float32"),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation's variance is the unbiased estimate; Keras' is divided by the count.
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], "float32")
        variance *= tf.maximum(count - 1, 1) / count
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return outputs


def with_fused_batch_norm(layer: keras.Layer) -> keras.Layer:
    """A copy of a layer, as `clone_function` of `keras.models.clone_model` makes it.

    Args:
        layer: any layer; a stock batch normalization becomes a fused one.
    """
    stock = type(layer) is keras.layers.BatchNormalization
    kind = BatchNormalization if stock else type(layer)
    return kind.from_config(layer.get_config())
