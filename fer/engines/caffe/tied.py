"""Becomes the program in its arguments, tied to `fer`: Caffe's executable would outlive one that is killed.

    python tied.py /path/to/caffe train --solver solver.prototxt ...

Linux then sends it SIGINT, at which Caffe takes a snapshot and stops.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # also where PYTHONSAFEPATH is set

import ipc

if __name__ == "__main__":
    ipc.stop_when_parent_dies(signal.SIGINT)
    os.execv(sys.argv[1], sys.argv[1:])
