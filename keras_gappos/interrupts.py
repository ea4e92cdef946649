"""Make sure that Ctrl-C is not lost."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import keras

_interrupted = threading.Event()


class _NotingHandler:
    """Records the signal, then calls another handler."""

    def __init__(self, handler):
        self._handler = handler

    def __call__(self, *arguments):
        _interrupted.set()
        self._handler(*arguments)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Turns an error that was caused by Ctrl-C back into a `KeyboardInterrupt`.

    Keras catches all exceptions while it infers symbolic shapes, so an interrupt during tracing
    ends in an unrelated error. Python ignores interrupts during cleanup; `EndAtInterrupt` handles
    those.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    is_outermost = not isinstance(handler, _NotingHandler)
    if is_outermost:
        _interrupted.clear()
        signal.signal(signal.SIGINT, _NotingHandler(handler))
    try:
        yield
    except Exception as error:
        if _interrupted.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        if is_outermost:
            signal.signal(signal.SIGINT, handler)
            _interrupted.clear()


class EndAtInterrupt(keras.callbacks.Callback):
    """Ends a training within `interrupts_kept` at the first step after a Ctrl-C that was lost."""

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Raises `KeyboardInterrupt` if Ctrl-C was pressed."""
        if _interrupted.is_set():
            raise KeyboardInterrupt
