"""The nets of prototxt/ as one writes them in Keras today: stock layers, images in memory, tf.data, SGD, model.fit.

    python scripts/bench_keras.py --net alexnet --data data/fer2013 [--batch 100] [--seconds 20] [--precision fp32|bf16]

What the TensorFlow engine is measured against (bench_engines.py). Trains for `--seconds` after a warm-up and prints one
line of JSON: images a second, iterations, the last loss. Nothing of fer is imported.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import keras
import numpy as np
import tensorflow as tf
from keras import layers

CLASSES, SIDE, CROP = 7, 48, 44
SCALES = {"lenet": 1 / 256, "alexnet": 1 / 64}


def batches(data: Path, net: str, batch: int) -> tf.data.Dataset:
    """The train split's images, decoded once: a random crop and mirror each, minus the mean, over and over."""
    rows = [line.rsplit(" ", 1) for line in (data / "train.txt").read_text().splitlines()]
    found = [cv2.imread(str(data / "train" / name), cv2.IMREAD_GRAYSCALE) for name, _ in rows]
    images = np.stack([image for image in found if image is not None])[..., None]
    labels = np.array([int(label) for _, label in rows], np.int32)

    def change(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (CROP, CROP, 1)))
        return (tf.cast(image, tf.float32) - 128) * SCALES[net], label

    rows_of = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    return rows_of.map(change, tf.data.AUTOTUNE).batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def make_net(name: str) -> keras.Model:
    """The net of prototxt/<name>, from images [N, 44, 44, 1] to scores."""
    return keras.Sequential([layers.Input((CROP, CROP, 1)), *(_lenet() if name == "lenet" else _alexnet())])


def _lenet() -> list[Any]:
    return [
        layers.Conv2D(20, 5), layers.MaxPooling2D(2), layers.Conv2D(50, 5), layers.MaxPooling2D(2),
        layers.Flatten(), layers.Dense(500, activation="relu"), layers.Dense(CLASSES, dtype="float32"),
    ]  # fmt: skip


def _pool_and_norm() -> list[Any]:
    norm = layers.Lambda(lambda x: tf.nn.local_response_normalization(tf.cast(x, tf.float32), 2, 1.0, 2e-5, 0.75))
    return [layers.MaxPooling2D(3, 2, "same"), norm]


def _alexnet() -> list[Any]:
    def convolution(filters: int, side: int, groups: int = 1, stride: int = 1) -> Any:
        return layers.Conv2D(filters, side, stride, "same", groups=groups, activation="relu")

    return [
        convolution(96, 7, stride=2), *_pool_and_norm(), convolution(256, 5, 2), *_pool_and_norm(),
        convolution(384, 3), convolution(384, 3, 2), convolution(256, 3, 2), layers.MaxPooling2D(3, 2, "same"),
        layers.Flatten(), layers.Dense(1024, activation="relu"), layers.Dropout(0.5),
        layers.Dense(1024, activation="relu"), layers.Dropout(0.5), layers.Dense(CLASSES, dtype="float32"),
    ]  # fmt: skip


class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras bears no types
    """Counts iterations, and ends the training after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.count, self.started, self.loss = seconds, 0, time.perf_counter(), 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.count += 1
        self.loss = (logs or {}).get("loss", 0.0)
        if time.perf_counter() - self.started >= self.seconds:
            self.model.stop_training = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=SCALES, default="alexnet")
    parser.add_argument("--data", type=Path, default=Path("data/fer2013"))
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--warm-up", type=int, default=10, help="iterations before the clock starts")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    if options.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    model = make_net(options.net)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9, weight_decay=0.0005), loss)
    images = batches(options.data, options.net, options.batch)
    model.fit(images, steps_per_epoch=options.warm_up, verbose=0)
    clock = Clock(options.seconds)
    model.fit(images, steps_per_epoch=10**6, verbose=0, callbacks=[clock])
    seconds = time.perf_counter() - clock.started
    rate = clock.count * options.batch / seconds
    print(json.dumps({"images_per_second": rate, "iterations": clock.count, "loss": float(clock.loss)}))


if __name__ == "__main__":
    main()
