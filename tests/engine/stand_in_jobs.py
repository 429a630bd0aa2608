"""Jobs for the tests, in a module that workers can import too."""

import os
import signal
import time
from pathlib import Path


def slow_square(number):
    time.sleep(0.2)
    return number**2


def process(_number):
    time.sleep(0.05)
    return os.getpid()


def deadly(number, folder):
    """Leaves a line for each call; 3 ends the process."""
    with Path(folder, "calls").open("a") as file:
        file.write(f"{number}\n")
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return number**2


def raising(error):
    raise error
