"""What converters and runtimes do wrong without a word, and what is done against it; each form by its own runtime."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from form_job import job_of, wanted_of, written
from onnx import numpy_helper

from fer.errors import FerError
from fer.export.device_forms import HALF
from fer.export.form import EXACT, Form, Job
from fer.export.forms import FORMS
from fer.export.simulated_forms import Simulated

pytestmark = pytest.mark.full
# The first windows and the last ones reach beyond the image, whose values are below 0 there.
POOLINGS = {
    "over": "pool: MAX kernel_size: 3 stride: 2",
    "padded": "pool: MAX kernel_size: 3 stride: 2 pad: 1",
    "far": "pool: MAX kernel_size: 4 stride: 5",
    "mean": "pool: AVE kernel_size: 3 stride: 2",
    "mean_padded": "pool: AVE kernel_size: 3 stride: 2 pad: 1",
    "mean_far": "pool: AVE kernel_size: 2 stride: 3 pad: 1",
}
CONV = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }"""
POOL = """
layer {{ name: "{name}" type: "Pooling" bottom: "conv" top: "{name}" pooling_param {{ {param} }} }}
layer {{ name: "{name}_conv" type: "Convolution" bottom: "{name}" top: "{name}_conv"
  convolution_param {{ num_output: 2 kernel_size: 3 pad: 2 }} }}
layer {{ name: "{name}_ip" type: "InnerProduct" bottom: "{name}_conv" top: "{name}_ip"
  inner_product_param {{ num_output: 5 }} }}"""
JOINED = f"""
layer {{ name: "joined" type: "Concat" {" ".join(f'bottom: "{name}_ip"' for name in POOLINGS)} top: "joined" }}"""
PADDED = CONV + "".join(POOL.format(name=name, param=param) for name, param in POOLINGS.items()) + JOINED
WHOLE = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 7 } }'


def off(form: Form, job: Job, images: np.ndarray) -> float:
    """The largest difference from what Caffe gives, of the readers of all that the form has, to the largest number."""
    wanted = wanted_of(job, images)
    answers = [read(images) for read in form.readers(job)[0].values()]
    return float(max(np.abs(answer - wanted).max() for answer in answers) / np.abs(wanted).max())


def dark(count: int = 30) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 90, (count, 1, 12, 12)).astype(np.uint8)


def test_pooling_that_rounds_up_and_padding_that_is_fused(form_name: str, tmp_path: Path) -> None:
    """A mean below which all is, convolutions that pad with zeros what is left, windows beyond the image.

    The toolkits of some chips know no such net, and say so.
    """
    job = job_of(tmp_path, PADDED, dark())
    try:
        form = written(job, form_name)
    except FerError:
        assert isinstance(FORMS[form_name], Simulated)
        return
    assert off(form, job, dark(4)) <= (0.05 if form.integers else max(form.tolerance, EXACT))


@pytest.mark.parametrize("name", ["onnx-fp16", "openvino", "ncnn"])
def test_the_mean_keeps_all_its_digits(name: str, tmp_path: Path) -> None:
    """In halves it is 129.0, or 129.125, and every pixel off by as much."""
    images = np.random.default_rng(1).integers(126, 134, (30, 1, 12, 12)).astype(np.uint8)
    job = job_of(tmp_path, WHOLE, images, mean=129.0625)
    assert off(written(job, name), job, images[:4]) <= (HALF if name == "onnx-fp16" else EXACT)


def test_no_sum_of_two_products_leaves_16_bits(tmp_path: Path) -> None:
    """As processors without VNNI add them, where it would be cut off: weights of seven bits are small enough."""
    job = job_of(tmp_path, PADDED, dark())
    form = written(job, "onnx-int8")
    graph = onnx.load(tmp_path / form.camera_file).graph
    weights = [numpy_helper.to_array(each) for each in graph.initializer if each.data_type == onnx.TensorProto.INT8]
    weights = [each for each in weights if each.ndim > 1]
    assert len(weights) == 13 and {len(np.unique(each)) > 9 for each in weights} == {True}
    assert max(2 * 255 * int(np.abs(each.astype(int)).max()) for each in weights) <= np.iinfo(np.int16).max


def test_each_layers_noise_is_measured_where_the_runtime_shows_it(integer_form: str, tmp_path: Path) -> None:
    """One channel of many is a thousand times as loud as what the next layer looks at."""
    layers = """
    layer { name: "first" type: "Convolution" bottom: "data" top: "first" convolution_param { num_output: 4
      kernel_size: 3 } }
    layer { name: "second" type: "Convolution" bottom: "first" top: "second" convolution_param { num_output: 4
      kernel_size: 3 } }
    layer { name: "ip" type: "InnerProduct" bottom: "second" top: "ip" inner_product_param { num_output: 7 } }"""
    draw = np.random.default_rng(3)
    loud, deaf = draw.normal(size=(4, 1, 3, 3)), draw.normal(size=(4, 4, 3, 3))
    loud[0] *= 1000
    deaf[:, 0] = 0
    images = draw.integers(0, 256, (30, 1, 12, 12)).astype(np.uint8)
    blobs = {"first": [loud, np.zeros(4)], "second": [deaf, np.zeros(4)]}
    job = job_of(
        tmp_path,
        layers,
        images,
        blobs={name: [each.astype(np.float32) for each in both] for name, both in blobs.items()},
    )
    form = written(job, integer_form)
    ratios = form.noise(job)
    if isinstance(form, Simulated):
        assert not ratios  # simulators show the answer alone
        return
    assert ratios.keys() >= {"first", "second", "ip"}
    assert ratios["first"] > 25 and ratios["second"] < 10
