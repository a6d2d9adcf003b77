"""python -m fer.engines.tensorflow: Caffe's command line on TensorFlow (see fer/engines/core/tool.py)."""

# ruff: noqa: E402 -- what the environment says must be said before TensorFlow is imported
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the import, at which TensorFlow reads it
os.environ["KERAS_BACKEND"] = "tensorflow"
# Keras imports it to draw, and it reads a matplotlibrc of the current folder, which is a run's that may be anybody's.
sys.modules["matplotlib"] = None  # type: ignore[assignment]

from fer.engines.core.options import OwnVerb
from fer.engines.core.tool import main
from fer.engines.tensorflow import exports
from fer.engines.tensorflow.backend import TensorFlow
from fer.engines.tensorflow.device import set_up_process

VERBS = {
    "export": OwnVerb(exports.export_options, exports.export),
    "read": OwnVerb(exports.read_options, exports.read),
}

set_up_process()
sys.exit(main(TensorFlow(), others=VERBS))
