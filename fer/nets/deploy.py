"""The net for use (deploy), derived from the net for training."""

from __future__ import annotations

from fer.errors import FerError
from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2

_FOR_TRAINING = ("include", "exclude", "phase", "param", "loss_weight", "propagate_down", "blobs", "loss_param")


def derive_deploy(net: caffe_pb2.NetParameter, shape: tuple[int, int, int]) -> caffe_pb2.NetParameter:
    """The TEST-phase net from an image to its probabilities.

    An Input layer takes the place of the data layer, of one image of `shape` (channels, height, width; height and
    width replaced by the data layer's crop_size); a Softmax called "prob" that of the last loss. Layers that do not
    lead to it (Accuracy, other losses, auxiliary heads) and all that only training needs (fillers, rates) are left
    out. Raises FerError where the net has no data layer or no loss.
    """
    tested = filter_net(net, State("TEST"))
    score = _scored_blob(tested)
    kept: list[caffe_pb2.LayerParameter] = []
    needed = {score}
    for layer in reversed(tested.layer):
        if needed.isdisjoint(layer.top):
            continue
        if not layer.bottom:
            kept.append(_input(layer, shape))
            break
        needed.update(layer.bottom)
        kept.append(_for_use(layer))
    else:
        raise FerError(f"net {net.name!r} has no data layer that leads to {score!r}")
    kept.reverse()
    if kept[-1].type == "Softmax":
        kept[-1].name, kept[-1].top[0] = "prob", "prob"
    else:
        kept.append(caffe_pb2.LayerParameter(name="prob", type="Softmax", bottom=[score], top=["prob"]))
    return caffe_pb2.NetParameter(name=net.name, layer=kept)


def _scored_blob(net: caffe_pb2.NetParameter) -> str:
    """The blob that the last loss (or, where there is none, the last Accuracy) compares with the labels."""
    losses = [layer for layer in net.layer if layer.type.endswith("Loss")]
    judges = losses or [layer for layer in net.layer if layer.type == "Accuracy"]
    if not judges or not judges[-1].bottom:
        raise FerError(f"net {net.name!r} has no loss and no Accuracy in its TEST phase: which blob are the scores?")
    return judges[-1].bottom[0]


def _input(layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]) -> caffe_pb2.LayerParameter:
    top = layer.top[0]
    front = caffe_pb2.LayerParameter(name=top, type="Input", top=[top])
    channels, height, width = shape
    crop = layer.transform_param.crop_size
    front.input_param.shape.add(dim=[1, channels, crop or height, crop or width])
    return front


def _for_use(layer: caffe_pb2.LayerParameter) -> caffe_pb2.LayerParameter:
    copy = caffe_pb2.LayerParameter()
    copy.CopyFrom(layer)
    for name in _FOR_TRAINING:
        copy.ClearField(name)
    for field, value in copy.ListFields():
        if field.name.endswith("_param"):
            for filler in ("weight_filler", "bias_filler", "filler"):
                if filler in value.DESCRIPTOR.fields_by_name:
                    value.ClearField(filler)
    return copy
