"""Ctrl-C that is not lost."""

import contextlib
import signal
import threading

import keras

_came = threading.Event()


class _NotingHandler:
    """A signal handler that notes the signal before it does what another one does."""

    def __init__(self, handler):
        self._handler = handler

    def __call__(self, *arguments):
        _came.set()
        self._handler(*arguments)


@contextlib.contextmanager
def interrupts_kept():
    """Turns an error that a Ctrl-C has caused into the `KeyboardInterrupt` that it was.

    Where Keras looks at symbolic shapes it catches all exceptions, this one too: one that comes
    while a step is traced ends in an error about something else. Where Python cleans up it is
    ignored: an `EndAtInterrupt` sees to that.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    is_outermost = not isinstance(handler, _NotingHandler)
    if is_outermost:
        _came.clear()
        signal.signal(signal.SIGINT, _NotingHandler(handler))
    try:
        yield
    except Exception as error:
        if _came.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_outermost:
            signal.signal(signal.SIGINT, handler)
            _came.clear()


class EndAtInterrupt(keras.callbacks.Callback):
    """Ends a training within `interrupts_kept` at the first step after a Ctrl-C that was lost."""

    def on_train_batch_end(self, batch, logs=None):
        """Raises `KeyboardInterrupt` if there was one."""
        if _came.is_set():
            raise KeyboardInterrupt
