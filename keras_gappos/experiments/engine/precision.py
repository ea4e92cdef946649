"""The dtype policy that an experiment computes in."""

import contextlib

import keras


@contextlib.contextmanager
def dtype_policy(policy):
    """Sets Keras' dtype policy, and puts the former one back."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)
