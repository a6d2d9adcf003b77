"""What a training's net is tested on: its own layer of the TEST phase, or one as that of TRAIN."""

from fer.errors import FerError
from fer.evaluation.splits import READ_LAYERS
from fer.nets.deploy import front_layer
from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2

UNTESTED = "Its net has no data layer for tests: val is read as its training images are, without mirroring."


def front_read(net: caffe_pb2.NetParameter, state: State) -> caffe_pb2.LayerParameter:
    """The data layer that a net has its images from. Raises FerError where it has none, or one that reads no images."""
    front = front_layer(net, state)
    if front.type not in READ_LAYERS:
        raise FerError(
            f"layer {front.name!r} ({front.type}) gives it its images, and what was done to those before stands nowhere"
        )
    return front


def with_test_data(net: caffe_pb2.NetParameter, train: State, test: State) -> tuple[caffe_pb2.NetParameter, list[str]]:
    """The net, and where it is trained and never tested, with a data layer for tests; what was done, for the report."""
    tested = filter_net(net, test)
    if any(not layer.bottom for layer in tested.layer):
        return net, []
    front = front_read(net, train)
    added = caffe_pb2.LayerParameter()
    added.CopyFrom(front)
    for name in ("include", "exclude"):
        added.ClearField(name)
    added.include.add(phase=caffe_pb2.TEST)
    added.transform_param.ClearField("mirror")
    copy = caffe_pb2.NetParameter()
    copy.CopyFrom(net)
    copy.ClearField("layer")
    copy.layer.extend([added, *net.layer])
    return copy, [UNTESTED]
