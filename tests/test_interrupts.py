import subprocess
import sys
import threading

import pytest

from keras_gappos.interrupts import interrupts_kept

# In a process of its own: a test's process belongs to pytest, which may end at a signal.
SCRIPT = """
import os, signal, time
from keras_gappos.interrupts import EndAtInterrupt, interrupts_kept

def swallow_an_interrupt():  # as Keras does with one that comes while it looks at symbolic shapes
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    except BaseException:
        return
    raise AssertionError("there was none")

handler = signal.getsignal(signal.SIGINT)
try:
    with interrupts_kept():
        swallow_an_interrupt()
        raise TypeError("about something else")
except KeyboardInterrupt as error:
    print("interrupted by", repr(error.__cause__))
with interrupts_kept(), interrupts_kept():
    swallow_an_interrupt()  # and what follows goes well
try:
    with interrupts_kept(), interrupts_kept():
        EndAtInterrupt().on_train_batch_end(0)
        swallow_an_interrupt()
        EndAtInterrupt().on_train_batch_end(1)
        print("it goes on")
except KeyboardInterrupt:
    print("ended at a step")
EndAtInterrupt().on_train_batch_end(0)  # that one is over
try:
    with interrupts_kept():
        raise TypeError("of its own")
except TypeError as error:
    print(error)
print(signal.getsignal(signal.SIGINT) is handler)
"""


@pytest.mark.slow
def test_an_error_after_an_interrupt_is_one():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "interrupted by TypeError('about something else')",
        "ended at a step",
        "of its own",
        "True",
    ], done.stderr


def test_nothing_happens_in_other_threads():
    errors = []

    def run():
        with pytest.raises(TypeError), interrupts_kept():
            raise TypeError
        errors.append("seen")

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == ["seen"]
