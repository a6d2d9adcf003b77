"""What TensorFlow raises, in words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from fer.engines.tensorflow.keras_layers.labels import FAULT
from fer.engines.tensorflow_engine import keras_name
from fer.errors import FerError

_WRONG_INDEX = re.compile(rf"{FAULT}(?P<name>.*)\|(?P<what>\w+)'?\] \[(?P<index>-?\d+)\] \[?b?'?(?P<bound>[^|]*)\|")


@contextmanager
def spoken(net: Any) -> Iterator[None]:
    """Raises FerError where a pass met a label of no class, or found no memory."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        found = _WRONG_INDEX.search(error.message)
        if not found:
            raise
        wrong = f"{found['what']} {found['index']} {found['bound']}"
        for node in net.nodes:
            if keras_name(node.name) == found["name"]:
                node.layer.fail(wrong)
        raise FerError(f"layer {found['name']!r}: {wrong}") from None
    except tf.errors.ResourceExhaustedError as error:
        raise FerError("not enough memory; try a smaller batch_size") from error
