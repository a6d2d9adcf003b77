"""Which device to work on."""

import os

import tensorflow as tf

from fer.engines.core.gpus import gpus_named


def gpu_names() -> list[str]:
    """Of the GPUs that TensorFlow can use, in their order."""
    gpus = tf.config.list_physical_devices("GPU")
    return [str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)) for gpu in gpus]


def gpus_of(text: str | None) -> list[int]:
    """The GPUs of `--gpu` ("", "0", "0,2", "all"); FerError for anything else or where one is not there."""
    return gpus_named(text, len(tf.config.list_physical_devices("GPU")), _why_not) if text else []


def _why_not(there: int) -> str:
    """Why TensorFlow has no more than `there` GPUs."""
    version = f"TensorFlow {tf.__version__}"
    if not tf.test.is_built_with_cuda():
        return f"{version} is a build for the CPU alone: install tensorflow[and-cuda] in its place"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = f" (CUDA_VISIBLE_DEVICES={hidden})" if hidden is not None else ""
    return f"this machine has {there} that {version} can use{shown}"


def use(gpu: int | None) -> None:
    """Compute on this GPU alone, or on the CPU; once TensorFlow has begun, it keeps to what it has."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return
    chosen = [] if gpu is None else [gpus[gpu]]
    if tf.config.get_visible_devices("GPU") != chosen:
        tf.config.set_visible_devices(chosen, "GPU")
    for device in chosen:
        tf.config.experimental.set_memory_growth(device, True)


def set_up_process() -> None:
    """What a process of the engine sets for itself before its first net: it holds for all that runs there."""
    tf.get_logger().setLevel("ERROR")
    if not tf.config.list_physical_devices("GPU"):  # where some operations have no such kernel
        tf.config.experimental.enable_op_determinism()  # so that a resumed training is the same one to the last bit
