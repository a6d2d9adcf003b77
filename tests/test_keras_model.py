"""build_model: a Caffe net as a Keras model that its user trains, saves and loads."""

from pathlib import Path

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from public_nets import NETS
from solver_cases import backend, write_solver

from fer.engines.core.weights import copy_weights, write_model
from fer.engines.tensorflow.context import Context
from fer.engines.tensorflow.keras_layers.own import caffes
from fer.engines.tensorflow.model import build_model
from fer.engines.tensorflow.net import Net
from fer.errors import FerError
from fer.formats.prototxt import read_net
from fer.nets.states import State
from fer.schema import caffe_pb2

BLOCK = """
name: "a block"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 8 } } }
layer { name: "a/conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 3 weight_filler { type: "msra" } } }
layer { name: "a/bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "a/scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "a/relu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "a/norm" type: "LRN" bottom: "conv" top: "norm" lrn_param { local_size: 3 } }
layer { name: "a/pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "a/mean" type: "Pooling" bottom: "norm" top: "mean"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "join" type: "Concat" bottom: "pool" bottom: "mean" top: "join" }
layer { name: "drop" type: "Dropout" bottom: "join" top: "join" }
layer { name: "ip" type: "InnerProduct" bottom: "join" top: "ip"
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


KERAS_ON_NUMPY_2 = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


@pytest.fixture
def block(tmp_path: Path) -> Path:
    path = tmp_path / "block.prototxt"
    path.write_text(BLOCK)
    return path


def images(count: int = 5) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, 9, 8, 3)).astype(np.float32)


def learnt(block: Path) -> Path:
    """Weights of the block, with statistics that differ from channel to channel."""
    net = backend("tensorflow").net(read_net(block), State("TEST"), seed=1)
    rng = np.random.default_rng(2)
    for index, shape in enumerate(net.blob_shapes["a/bn"]):
        net.set_blob("a/bn", index, rng.uniform(0.5, 2, shape).astype(np.float32))
    weights = block.with_suffix(".caffemodel")
    write_model(weights, net)
    return weights


def test_it_answers_as_the_engine_does(block: Path) -> None:
    weights = learnt(block)
    model = build_model(block, weights=weights)
    assert (model.input_shape, model.output_shape) == ((None, 9, 8, 3), (None, 4))
    assert {"a.conv", "a.bn", "a.scale", "a.pool", "prob"} <= {layer.name for layer in model.layers}
    engine = Net(read_net(block), Context("TEST"))
    copy_weights(engine, weights)
    wanted = engine.infer(images().transpose(0, 3, 1, 2), "prob")
    answers = model.predict(images(), verbose=0)
    np.testing.assert_allclose(answers, wanted, atol=1e-6)
    assert np.ptp(wanted, axis=0).max() > 1e-2


@KERAS_ON_NUMPY_2
def test_saved_and_loaded_it_is_the_same(block: Path) -> None:
    model = build_model(block, weights=learnt(block))
    model.save(block.with_suffix(".keras"))
    again = keras.models.load_model(block.with_suffix(".keras"))
    assert np.array_equal(again.predict(images(), verbose=0), model.predict(images(), verbose=0))


@KERAS_ON_NUMPY_2
def test_keras_trains_it(block: Path) -> None:
    """With dropout and the batches' statistics, which come to be BatchNorm's."""
    model = build_model(block, weights=learnt(block), outputs=["ip"])
    before = [np.array(weight) for weight in model.get_layer("a.bn").weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    keras.utils.set_random_seed(1)  # of the dropout
    rows, labels = images(32), np.arange(32) % 4
    found = model.fit(rows, labels, batch_size=32, epochs=60, verbose=0).history["loss"]
    assert found[-1] < 0.8 * found[0]
    assert all(np.any(old != np.array(new)) for old, new in zip(before, model.get_layer("a.bn").weights, strict=True))


def test_of_a_net_that_trains_it_leaves_data_and_losses_to_keras(tmp_path: Path) -> None:
    path = write_solver(tmp_path, "run").with_name("run_net.prototxt")
    path.write_text(path.read_text().replace('param { name: "w" } param { name: "b" }', ""))
    model = build_model(path, phase="TRAIN")
    assert (model.input_shape, model.output_shape) == ((None, 8, 8, 1), (None, 7))
    assert model.predict(np.zeros((3, 8, 8, 1), np.float32), verbose=0).shape == (3, 7)


def test_what_cannot_be_had_is_said(block: Path, tmp_path: Path) -> None:
    with pytest.raises(FerError, match=r"there is no blob 'probs'; there are data, .*prob"):
        build_model(block, outputs=["probs"])
    with pytest.raises(FerError, match="there is no phase 'VAL'"):
        build_model(block, phase="VAL")
    sharing = write_solver(tmp_path, "run").with_name("run_net.prototxt")
    with pytest.raises(FerError, match=r"layer 'three' .*shares a parameter with layer 'two'"):
        build_model(sharing)


@pytest.mark.full
@pytest.mark.parametrize("name", NETS)
def test_blobs_of_public_nets_have_caffe_s_shapes(name: str) -> None:
    """Those that the net foretells are those of Keras' layers (test_public_nets.py holds them against real Caffe)."""
    net = Net(text_format.Parse(NETS[name].write(), caffe_pb2.NetParameter()), Context("TEST"))
    found = {blob: tuple(caffes(symbol.shape))[1:] for blob, symbol in net.model.symbols.items()}
    assert found == {blob: shape[1:] for blob, shape in net.shapes.items()}


def test_a_label_of_no_class_ends_the_pass() -> None:
    """That of an array of no data layer's: those that are known are looked at before (test_data_layers)."""
    text = """
    layer { name: "data" type: "DummyData" top: "x" top: "label" dummy_data_param { shape { dim: 4 dim: 3 }
      shape { dim: 4 } data_filler { type: "gaussian" std: 1 } data_filler { value: 9 } } }
    layer { name: "side/ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 7 } }
    layer { name: "side/loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
    net = Net(text_format.Parse(text, caffe_pb2.NetParameter()), Context("TRAIN"))
    with pytest.raises(FerError, match=r"layer 'side/loss' \(SoftmaxWithLoss\): label 9 is outside of 0\.\.6"):
        net.evaluate()
