"""Ctrl-C that is not lost."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def interrupts_kept():
    """Turns an error that a Ctrl-C has caused into the `KeyboardInterrupt` that it was.

    Where Keras looks at symbolic shapes it catches all exceptions, this one too: one that comes
    while a step is traced ends in an error about something else.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came = threading.Event()

    def note(*arguments):
        came.set()
        handler(*arguments)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except Exception as error:
        if came.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, handler)
