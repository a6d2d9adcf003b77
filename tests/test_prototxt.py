"""Reading, writing, finding, filtering, upgrading, linting and deriving nets."""

import os
import re
from pathlib import Path
from typing import Any, Protocol

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from fer.errors import FerError
from fer.formats import forks, prototxt, prototxt_text, upgrade
from fer.formats.prototxt import read_net, read_solver, read_weights
from fer.formats.tokens import blank_field, layer_lines
from fer.nets import lint, states, zoo
from fer.nets.deploy import derive_deploy, front_layer
from fer.nets.lint import lint_net
from fer.nets.states import State, filter_net
from fer.schema import caffe_pb2
from fer.training.prototxts import read_prototxts

SMALL = """\
name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN stage: "big" }
  data_param { source: "a" batch_size: 8 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN not_stage: "big" }
  data_param { source: "a" batch_size: 2 backend: LMDB } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 4 scale: 0.5 } data_param { source: "b" batch_size: 3 backend: LMDB } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 7
  weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy" exclude { phase: TRAIN } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


class Write(Protocol):
    def __call__(self, text: str, name: str = "net.prototxt") -> Path: ...


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str, name: str = "net.prototxt") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def parse(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


# ---- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ('name: "x"\nlayer {\n  nam: "d"\n}', 3, "no field 'nam' (did you mean name?)"),
        (
            "# layer {\nlayer {\n include { phase: TRIAN } }",
            3,
            "no value TRIAN (did you mean TRAIN?); it has TRAIN, TEST",
        ),
        ("layer {\n  pooling_param {\n    pool: MAXX\n  }\n}", 3, "no value MAXX (did you mean MAX?)"),
        ("layer {\n  name: 3\n}", 2, "Expected string"),
        ('layer {\n  name: "a"\n', 2, 'Expected "}"'),
        ('layer { name: "a" }\nlayer { data_param {\n batch_size: -1 } }', 3, "out of range: -1"),
        ('name: "a"\nname: "b"', 2, "multiple"),
        (
            'layer {\n include { phase: "TRAIN" } }',
            2,
            "TRAIN is a value of Phase, and no string: write it without quotes",
        ),
        ('layers {\n type: "CONVOLUTION" }', 2, "CONVOLUTION is a value of V1LayerParameter.LayerType, and no string"),
        ('name: "a"\n// layer {}', 2, "A comment begins with #"),
        ('name: "a"\n/* layer {} */', 2, "A comment begins with #"),
    ],
)
def test_a_fault_has_its_file_line_and_nearest_name(write: Write, text: str, line: int, hint: str) -> None:
    path = write(text)
    with pytest.raises(FerError) as caught:
        read_net(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert hint in str(caught.value)


def test_all_unknown_fields_are_reported_at_once(write: Write) -> None:
    path = write('nme: "x"\nlayer {\n  typ: "ReLU" # }\n  relu_parm { a: "}" b: [1, 2] }\n  top: 7\n}\n')
    with pytest.raises(FerError) as caught:
        read_net(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["1", "3", "4", "5"]
    assert "relu_param" in lines[2]


def test_files_that_are_no_prototxt(tmp_path: Path, write: Write) -> None:
    with pytest.raises(FerError, match=r"cannot read .*No such file"):
        read_net(tmp_path / "absent")
    with pytest.raises(FerError, match="cannot read"):
        read_net(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FerError, match="is not text"):
        read_net(tmp_path / "binary")
    with pytest.raises(FerError, match="no layers"):
        read_net(write(""))


@given(st.text(alphabet="layername{}<>[]:;\"'#\\ \n0.5e-", max_size=60))
def test_any_text_is_read_or_refused_with_a_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.prototxt"
    path.write_text(text, encoding="utf-8")
    try:
        read_net(path)
    except FerError as error:
        assert str(path) in str(error)


def test_solver_type_of_old_solvers(write: Write) -> None:
    assert read_solver(write("solver_type: ADAM")).type == "Adam"
    assert not read_solver(write("solver_type: ADAM")).HasField("solver_type")
    with pytest.raises(FerError, match="keep type"):
        read_solver(write('solver_type: ADAM type: "SGD"'))


def test_solver_net_path(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, solver = write("layer {}"), write("", "solver.prototxt")
    assert prototxt.solver_net_path(caffe_pb2.SolverParameter(net="net.prototxt"), solver) == net
    monkeypatch.chdir(tmp_path)
    found = prototxt.solver_net_path(caffe_pb2.SolverParameter(train_net="net.prototxt"), "solver.prototxt")
    assert found == Path("net.prototxt")
    with pytest.raises(FerError, match="names no net"):
        prototxt.solver_net_path(caffe_pb2.SolverParameter(), solver)
    with pytest.raises(FerError, match="is not there"):
        prototxt.solver_net_path(caffe_pb2.SolverParameter(net="other.prototxt"), solver)


GBK = "表情".encode("gbk")


def test_bytes_that_are_no_utf_8_are_kept(tmp_path: Path) -> None:
    """Caffe takes whatever stands in comments and strings; a copy holds the same bytes."""
    path, copy = tmp_path / "net.prototxt", tmp_path / "copy.prototxt"
    path.write_bytes(b'# %b\nname: "%b" layer {\n name: "caf\xe9" top: "\xc3\xa9\\317\\326" typ: 3 }' % (GBK, GBK))
    with pytest.raises(FerError, match=r"net\.prototxt:3: LayerParameter has no field 'typ'"):
        read_net(path)
    path.write_bytes(path.read_bytes().replace(b"typ: 3", b""))
    net = read_net(path)
    prototxt.write_text(copy, net)
    assert b'name: "%b"' % GBK in copy.read_bytes() and b'name: "caf\xe9"' in copy.read_bytes()
    assert b'top: "\xc3\xa9\xcf\xd6"' in copy.read_bytes()  # protobuf's own way to write bytes
    assert read_net(copy) == net
    assert prototxt_text.file_path(net.name) == Path(os.fsdecode(GBK))


@given(st.binary())
def test_any_bytes_come_back(data: bytes) -> None:
    assert prototxt_text.encode(prototxt_text.decode(data)) == data


@given(st.text())
def test_utf_8_stays_what_it_is(text: str) -> None:
    assert prototxt_text.decode(text.encode()) == text or not prototxt_text.is_utf8(prototxt_text.decode(text.encode()))


def test_names_in_weights_that_are_no_utf_8_are_those_of_the_net(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(weights().replace(b"ip", b"\xe9\xff"))
    assert read_weights(path).layer[0].name == prototxt_text.decode(b"\xe9\xff")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfel\x00", "not text that Caffe reads but UTF-16; save it as UTF-8"),
        (b"\xef\xbb\xbflayer {}", ":1: the file begins with a byte-order mark"),
        (b"\n\x01n\xa2\x06\x06\n\x02ip\x50\x00", r"not text but the weights of a net \(\.caffemodel\)"),
        (b"\x08\x01\x10\x01\x18\x01\x20\x01\x2a\x04\x00\x00\x80\x3f", r"not text but a mean \(\.binaryproto\)"),
        (b"layer {\x00}", r"not text but binary \(byte 7\)"),
        (b'base_lr: 1 lr_policy: "fixed"', "is a solver, where a net is expected"),
    ],
)
def test_what_is_no_net_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "given"
    path.write_bytes(content)
    with pytest.raises(FerError, match=f"given(?: is)? ?{message}"):
        read_net(path)


def test_a_net_in_a_solver_s_place_and_both_exchanged(write: Write) -> None:
    net, solver = write(SMALL), write('net: "x" base_lr: 1', "solver.prototxt")
    with pytest.raises(FerError, match=r"net\.prototxt is a net, where a solver is expected"):
        read_solver(net)
    assert read_prototxts(net, solver).faults == (f"{solver} is a solver and {net} a net: exchange --net and --solver",)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            'layer {\n data_param { source: "C:\\Users\\me\\train_lmdb" } }',
            2,
            'train_lmdb": a backslash .* write /',
        ),
        ('name: "a\\data"', 1, "in a path write /"),
        ("layer {\n type: DATA }", 2, 'block this type is written  type: "Data"'),
        ('layers {\n type: "Data" }', 2, "type 'Data' is of the new blocks: write  layer {  instead of  layers {"),
        ("layer { pooling_param {\n ceil_mode: false } }", 2, "of forks; in Caffe  round_mode: FLOOR"),
        ("layer {\n permute_param { order: 0 } }", 2, "it is of SSD's layer Permute"),
        ("layer {\n blobs_lr: 1 }", 2, "param { lr_mult: 1 decay_mult: 1 }"),
        ("default_forward_type: FLOAT16", 1, "NVCaffe's"),
        ("layer { convolution_param { hole: 2 } }", 1, "DeepLab's; in Caffe  dilation"),
    ],
)
def test_dialects_and_forks_are_explained(write: Write, text: str, line: int, message: str) -> None:
    path = write(text)
    with pytest.raises(FerError, match=rf"^{re.escape(str(path))}:{line}: .*{message.replace('{', '[{]')}"):
        read_net(path)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Permute", "it is SSD's"),
        ("DepthwiseConvolution", "in Caffe a Convolution layer whose group is the number of channels"),
        ("BN", "in Caffe a BatchNorm layer and behind it a Scale layer"),
        ("SOFTMAX_LOSS", "in a layer { ... } block it is 'SoftmaxWithLoss'"),
        ("PRelu", "did you mean PReLU?"),
    ],
)
def test_layer_types_of_forks_are_explained(write: Write, kind: str, message: str) -> None:
    path = write(f'layer {{ name: "x" type: "{kind}" }}')
    assert any(message in fault for fault in lint_net(read_net(path), path))


def test_fields_and_types_of_forks_are_none_of_caffe_s() -> None:
    for name in forks._FIELDS:
        owner, _, field = name.rpartition(".")
        messages = [caffe_pb2.DESCRIPTOR.message_types_by_name[owner]] if owner else [
            caffe_pb2.DESCRIPTOR.message_types_by_name[kind] for kind in ("NetParameter", "LayerParameter")
        ]  # fmt: skip
        assert all(field not in message.fields_by_name for message in messages), name
    assert forks.LAYER_TYPES.keys().isdisjoint(lint.KNOWN_LAYERS)


def test_a_path_with_a_tab_is_one_of_windows(write: Write) -> None:
    path = write('layer { name: "d" type: "Data" top: "d" data_param { source: "x\\train" batch_size: 1 } }')
    assert any("write /" in fault for fault in lint_net(read_net(path), path))


# ---- writing ---------------------------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=8)
floats = st.floats(width=32, allow_nan=False)
layers = st.builds(
    caffe_pb2.LayerParameter,
    name=names,
    type=names,
    top=st.lists(names, max_size=3),
    loss_weight=st.lists(floats, max_size=2),
    transform_param=st.builds(caffe_pb2.TransformationParameter, scale=floats, mean_file=names, mirror=st.booleans()),
)


V0 = """
layers { layer { name: "data" type: "images" source: "list" batchsize: 8 scale: 0.5 cropsize: 40 mirror: true
  meanfile: "m" new_height: 44 new_width: 42 shuffle_images: true rand_skip: 3 } top: "data" top: "label" }
layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "padded" }
layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 5 stride: 3 group: 2 biasterm: false
  weight_filler { type: "xavier" } blobs_lr: 2 weight_decay: 0 } bottom: "padded" top: "conv" }
layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 2 stride: 2 } bottom: "conv" top: "pool" }
layers { layer { name: "norm" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.75 } bottom: "pool" top: "norm" }
layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.3 } bottom: "norm" top: "norm" }
layers { layer { name: "both" type: "concat" concat_dim: 1 } bottom: "norm" bottom: "norm" top: "both" }
layers { layer { name: "ip" type: "innerproduct" num_output: 7 } bottom: "both" top: "ip" }
layers { layer { name: "loss" type: "softmax_loss" } bottom: "ip" bottom: "label" }
"""
TODAY = """
layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { scale: 0.5 mirror: true crop_size: 40 mean_file: "m" }
  image_data_param { source: "list" batch_size: 8 rand_skip: 3 shuffle: true new_height: 44 new_width: 42 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 4 bias_term: false pad: 2 kernel_size: 5 group: 2 stride: 3
    weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 } }
layer { name: "drop" type: "Dropout" bottom: "norm" top: "norm" dropout_param { dropout_ratio: 0.3 } }
layer { name: "both" type: "Concat" bottom: "norm" bottom: "norm" top: "both" concat_param { concat_dim: 1 } }
layer { name: "ip" type: "InnerProduct" bottom: "both" top: "ip" inner_product_param { num_output: 7 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" }
"""


def test_the_format_of_2013_is_upgraded() -> None:
    assert upgrade.upgrade_net(parse(V0)) == parse(TODAY)


@given(st.builds(caffe_pb2.NetParameter, name=names, layer=st.lists(layers, min_size=1, max_size=4)))
def test_text_round_trip(tmp_path_factory: pytest.TempPathFactory, net: caffe_pb2.NetParameter) -> None:
    path = tmp_path_factory.getbasetemp() / "round.prototxt"
    prototxt.write_text(path, net)
    assert read_net(path) == net
    assert len(layer_lines(path.read_text(encoding="utf-8"))) == len(net.layer)


@given(floats)
def test_floats_are_written_short_and_exact(value: float) -> None:
    text = prototxt.to_text(caffe_pb2.SolverParameter(base_lr=value))
    assert text_format.Parse(text, caffe_pb2.SolverParameter()).base_lr == value


def test_common_floats_look_as_people_write_them() -> None:
    text = prototxt.to_text(caffe_pb2.SolverParameter(base_lr=0.01, weight_decay=0.0005, gamma=0.1, momentum=0.9))
    assert text.split() == ["base_lr:", "0.01", "gamma:", "0.1", "momentum:", "0.9", "weight_decay:", "0.0005"]


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="cannot write"):
        prototxt.write_text(tmp_path / "absent" / "net.prototxt", parse(SMALL))
    (tmp_path / "taken").mkdir()
    with pytest.raises(FerError, match="cannot write"):
        prototxt.write_text(tmp_path / "taken", parse(SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# ---- places ----------------------------------------------------------------------------------------------------------


def test_layer_lines_know_comments_strings_and_nesting() -> None:
    text = '# layer {\nname: "layer {"\nlayer { name: "}" # }\n}\nlayer <\n name: \'#\' >\nlayer {}\n'
    assert layer_lines(text) == [3, 5, 7]


def test_blank_field_keeps_places() -> None:
    text = 'a { b: [1,\n 2] c: "x" }\nd: 3'
    assert blank_field(text, text.index("b:")) == 'a {       \n    c: "x" }\nd: 3'
    assert blank_field(text, 0) == " " * 10 + "\n" + " " * 12 + "\nd: 3"
    assert blank_field("a {", 0) is None


# ---- weights ---------------------------------------------------------------------------------------------------------


def weights() -> bytes:
    net = caffe_pb2.NetParameter(name="n")
    layer = net.layer.add(name="ip", type="InnerProduct")
    layer.blobs.add(shape=caffe_pb2.BlobShape(dim=[2, 3]), data=[0.5] * 6)
    return net.SerializeToString()


def test_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(weights())
    assert list(read_weights(path).layer[0].blobs[0].data) == [0.5] * 6


@pytest.mark.parametrize("keep", range(len(weights())))
def test_weights_cut_short_anywhere_are_refused(tmp_path: Path, keep: int) -> None:
    """Caffe loads an empty caffemodel without a word; none of these may pass."""
    path = tmp_path / "w.caffemodel"
    path.write_bytes(weights()[:keep])
    with pytest.raises(FerError, match=r"empty|cut short|no layer"):
        read_weights(path)


def test_weights_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FerError, match="cannot read"):
        read_weights(tmp_path / "absent.caffemodel")


# ---- phases and stages -----------------------------------------------------------------------------------------------


def test_phases_stages_and_data_layers() -> None:
    net = parse(SMALL)
    assert [layer.data_param.batch_size for layer in states.data_layers(net, State("TRAIN", ("big",)))] == [8]
    assert [layer.data_param.batch_size for layer in states.data_layers(net, State("TRAIN"))] == [2]
    assert [layer.data_param.batch_size for layer in states.data_layers(net, State("TEST", ("big",)))] == [3]
    assert "accuracy" not in [layer.name for layer in filter_net(net, State("TRAIN")).layer]
    assert front_layer(net).transform_param.crop_size == 4
    with pytest.raises(FerError, match="TRAIN and TEST"):
        filter_net(net, State("train"))


@pytest.mark.parametrize(
    ("rules", "state", "kept"),
    [
        ("", {}, True),
        ("include { phase: TEST }", {}, False),
        ("include { phase: TEST } include { phase: TRAIN }", {}, True),
        ("exclude { phase: TEST }", {}, True),
        ("exclude { phase: TEST } exclude { phase: TRAIN }", {}, False),
        ('include { stage: "a" stage: "b" }', {"stages": ["a"]}, False),
        ('include { stage: "a" stage: "b" }', {"stages": ["b", "c", "a"]}, True),
        ('include { not_stage: "a" not_stage: "b" }', {"stages": ["b"]}, False),
        ('include { not_stage: "a" }', {"stages": ["b"]}, True),
        ("include { min_level: 1 }", {}, False),
        ("include { min_level: 1 max_level: 2 }", {"level": 2}, True),
        ("include { max_level: 2 }", {"level": 3}, False),
        ("exclude { min_level: -1 }", {"level": -2}, True),
    ],
)
def test_rules(rules: str, state: dict[str, Any], kept: bool) -> None:
    net = parse(f'layer {{ name: "a" {rules} }}')
    assert bool(filter_net(net, State("TRAIN", **state)).layer) is kept


def test_include_beside_exclude_is_refused() -> None:
    with pytest.raises(FerError, match="'a' has include and exclude"):
        filter_net(parse('layer { name: "a" include { phase: TEST } exclude { phase: TEST } }'), State("TEST"))


stage_lists = st.lists(st.sampled_from("abc"), max_size=3)
rule = st.builds(
    caffe_pb2.NetStateRule,
    phase=st.sampled_from([0, 1]),
    stage=stage_lists,
    not_stage=stage_lists,
    min_level=st.integers(-1, 1),
)
ruled = st.one_of(
    st.builds(caffe_pb2.LayerParameter, include=st.lists(rule, max_size=3)),
    st.builds(caffe_pb2.LayerParameter, exclude=st.lists(rule, max_size=3)),
)


@given(st.lists(ruled, max_size=4), st.sampled_from(["TRAIN", "TEST"]), stage_lists, st.integers(0, 1))
def test_filtering_by_its_definition(
    net_layers: list[caffe_pb2.LayerParameter], phase: str, stages: list[str], level: int
) -> None:
    """Filtering twice changes nothing; turning include into exclude turns each answer round."""
    for i, layer in enumerate(net_layers):
        layer.name = str(i)
    net = caffe_pb2.NetParameter(layer=net_layers)
    state = State(phase, tuple(stages), level)
    once = filter_net(net, state)
    assert filter_net(once, state) == once
    kept = {layer.name for layer in once.layer}
    turned = caffe_pb2.NetParameter()
    turned.CopyFrom(net)
    for layer in turned.layer:
        rules = [*layer.include, *layer.exclude]
        was_include = bool(layer.include)
        layer.ClearField("include")
        layer.ClearField("exclude")
        (layer.exclude if was_include else layer.include).extend(rules)
    turned_kept = {layer.name for layer in filter_net(turned, state).layer}
    with_rules = {layer.name for layer in net.layer if layer.include or layer.exclude}
    assert kept & turned_kept == {layer.name for layer in net.layer} - with_rules
    assert kept | turned_kept == {layer.name for layer in net.layer}


# ---- old formats -----------------------------------------------------------------------------------------------------


def test_v1_net_is_upgraded() -> None:
    net = upgrade.upgrade_net(
        parse("""
        name: "old" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9
        layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
          weight_decay: 0 param: "shared" convolution_param { num_output: 4 kernel_size: 3 } loss_weight: 2 }
        layers { name: "d" type: DATA top: "x" data_param { source: "s" scale: 0.5 crop_size: 4 mirror: true } }
        layers { name: "l" type: SOFTMAX_LOSS include { phase: TRAIN } }""")
    )
    assert not net.layers and not net.input and not net.input_dim
    assert net == parse("""
        name: "old"
        layer { name: "input" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { name: "shared" lr_mult: 1 decay_mult: 1 }
          param { lr_mult: 2 decay_mult: 0 } convolution_param { num_output: 4 kernel_size: 3 } loss_weight: 2 }
        layer { name: "d" type: "Data" top: "x" transform_param { scale: 0.5 crop_size: 4 mirror: true }
          data_param { source: "s" } }
        layer { name: "l" type: "SoftmaxWithLoss" include { phase: TRAIN } }""")


def test_every_v1_type_has_a_name_now() -> None:
    for name, _ in caffe_pb2.V1LayerParameter.LayerType.items():
        layer = caffe_pb2.V1LayerParameter(type=name)
        upgraded = upgrade.upgrade_net(caffe_pb2.NetParameter(layers=[layer]))
        assert upgraded.layer[0].type in {"", "Reverse", *lint.KNOWN_LAYERS}


def test_batch_norm_rates_are_zeroed() -> None:
    net = upgrade.upgrade_net(parse('layer { type: "BatchNorm" param { lr_mult: 1 } param {} param {} }'))
    assert [(spec.lr_mult, spec.decay_mult) for spec in net.layer[0].param] == [(0, 0)] * 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('layers { layer { name: "conv1" type: "Conv" } }', "V0 format has no type 'Conv'"),
        ('layers { layer { name: "relu" type: "relu" num_output: 3 } }', "V0 format has no num_output for it"),
        (
            'layers { layer { name: "p" type: "padding" pad: 1 } bottom: "a" top: "b" } '
            'layers { layer { name: "q" type: "pool" } bottom: "b" top: "c" }',
            "'q': a padding layer is in front",
        ),
        ("layers {} layer {}", "mixes old"),
        ('input: "a" input_dim: 1 layer {}', "need 4 input_dim"),
        ('input: "a" input: "b" input_shape { dim: 1 } layer {}', "one input_shape each"),
    ],
)
def test_what_cannot_be_upgraded_says_why(write: Write, text: str, reason: str) -> None:
    with pytest.raises(FerError, match=reason):
        read_net(write(text))


@given(st.builds(caffe_pb2.NetParameter, name=names, layer=st.lists(layers, max_size=4)))
def test_upgrading_a_present_net_changes_nothing(net: caffe_pb2.NetParameter) -> None:
    assert upgrade.upgrade_net(net) == net


# ---- lint ------------------------------------------------------------------------------------------------------------


def test_a_sound_net_has_no_faults(write: Write) -> None:
    path = write(SMALL)
    assert lint_net(read_net(path), path, states=[State("TRAIN"), State("TRAIN", ("big",)), State("TEST")]) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('type: "ReLU"', 'type: "Relu"', "10: layer 'relu': unknown layer type 'Relu' (did you mean ReLU?)"),
        ('type: "ReLU"', "", "layer 'relu' has no type"),
        ('bottom: "data" top: "ip"', 'bottom: "dat" top: "ip"', "nothing makes its bottom 'dat' (did you mean data?)"),
        ('bottom: "ip" top: "ip" }', 'bottom: "data" top: "ip" }', "its top 'ip' is made already by 'ip' on line 8"),
        ('name: "relu"', 'name: "ip"', "two layers are called 'ip', the other on line 8"),
        ('bottom: "data" top: "ip"', 'bottom: "loss" top: "ip"', "its bottom 'loss' is made only later, on line 12"),
        ("num_output: 7", "", "inner_product_param has no num_output"),
        ('"xavier"', '"xavierr"', "weight_filler: Unknown filler name: xavierr (known: constant,"),
        ('source: "b"', "", "data_param has no source"),
        ("batch_size: 3", "", "data_param has no batch_size"),
        ("crop_size: 4", 'mean_file: "m" mean_value: 3', "mean_file and mean_value"),
        ('bottom: "label" top: "loss"', 'top: "loss"', "SoftmaxWithLoss takes 2 bottom(s), not 1"),
        ("exclude { phase: TRAIN }", "exclude { phase: TRAIN } include { phase: TEST }", "include and exclude"),
    ],
)
def test_faults(write: Write, old: str, new: str, fault: str) -> None:
    assert old in SMALL
    path = write(SMALL.replace(old, new))
    faults = lint_net(read_net(path), path)
    assert any(fault in line for line in faults), faults
    assert all(line.startswith(f"{path}:") for line in faults)


def test_all_faults_come_at_once_in_order_of_lines(write: Write) -> None:
    path = write(
        SMALL.replace('"ReLU"', '"Rleu"').replace("num_output: 7", "").replace('bottom: "data"', 'bottom: "x"')
    )
    faults = lint_net(read_net(path), path)
    lines = [int(fault.removeprefix(f"{path}:").split(":")[0]) for fault in faults]
    assert len(faults) == 3
    assert lines == sorted(lines) == [8, 8, 10]


@pytest.mark.parametrize(
    ("layer", "fault"),
    [
        ('type: "Convolution" convolution_param { num_output: 3 }', "no kernel_size"),
        ('type: "Convolution" convolution_param { kernel_size: 3 }', "no num_output"),
        ('type: "Pooling" pooling_param { }', "no kernel_size"),
        ('type: "LRN" lrn_param { local_size: 4 }', "must be odd"),
        ('type: "Dropout" dropout_param { dropout_ratio: 1 }', "between 0 and 1"),
        ('type: "Clip"', "clip_param is missing, with its min and max"),
        ('type: "Clip" clip_param { min: 1 max: 0 }', "clip_param's min is above its max"),
    ],
)
def test_sizes_that_a_layer_cannot_do_without(write: Write, layer: str, fault: str) -> None:
    path = write(f'layer {{ name: "d" type: "Input" top: "d" }}\nlayer {{ name: "x" bottom: "d" top: "x" {layer} }}')
    assert [line for line in lint_net(read_net(path), path) if fault in line and f"{path}:2:" in line]


def test_a_field_that_caffe_requires_is_missed_with_its_line(write: Write) -> None:
    path = write('layer { name: "d" type: "Input" top: "d" }\nlayer { name: "x" type: "Clip" clip_param { min: 0 } }')
    with pytest.raises(FerError, match=r":2: clip_param\.max is missing"):
        read_net(path)


def test_a_type_of_caffe_s_that_an_engine_has_not_is_told_from_one_that_there_is_not(write: Write) -> None:
    path = write(SMALL.replace('"ReLU"', '"TanH"'))
    (fault,) = lint_net(read_net(path), path, lint.KNOWN_LAYERS - {"TanH"})
    assert fault.endswith("unknown layer type 'TanH': Caffe has it, this engine has not")


@pytest.mark.parametrize("type_", sorted(name for name in lint.KNOWN_LAYERS if name.endswith("Loss")))
def test_a_loss_needs_no_top(write: Write, type_: str) -> None:
    bottoms = ("a", "b", "c") if type_ in ("ContrastiveLoss", "InfogainLoss") else ("a", "b")
    ends = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    inputs = "".join(f'layer {{ name: "{bottom}" type: "Input" top: "{bottom}" }}\n' for bottom in bottoms)
    for tops, faults in (("", 0), ('top: "x"', 0), ('top: "x" top: "y" top: "z"', 1)):
        path = write(f'{inputs}layer {{ name: "loss" type: "{type_}" {ends} {tops} }}')
        assert len(lint_net(read_net(path), path)) == faults


def test_an_engines_own_layer_types_are_taken(write: Write) -> None:
    path = write(SMALL.replace('"ReLU"', '"MyReLU"'))
    assert lint_net(read_net(path), path, {*lint.KNOWN_LAYERS, "MyReLU"}) == []


# ---- deploy ----------------------------------------------------------------------------------------------------------


def test_deploy_leads_from_image_to_probabilities() -> None:
    deploy = derive_deploy(parse(SMALL), (1, 6, 6))
    assert deploy == parse("""
        name: "small"
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 7 } }
        layer { name: "relu" type: "ReLU" bottom: "ip" top: "ip" }
        layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }""")


def test_deploy_leaves_auxiliary_heads_out_and_keeps_a_softmax() -> None:
    net = parse(
        SMALL.replace('name: "loss" type: "SoftmaxWithLoss" bottom: "ip"', 'name: "aux" type: "HingeLoss" bottom: "ip"')
        + 'layer { name: "p" type: "Softmax" bottom: "ip" top: "p" }'
        + 'layer { name: "log" type: "MultinomialLogisticLoss" bottom: "p" bottom: "label" top: "l" }'
    )
    deploy = derive_deploy(net, (1, 6, 6))
    assert [(layer.name, list(layer.top)) for layer in deploy.layer][-1] == ("prob", ["prob"])
    assert "aux" not in [layer.name for layer in deploy.layer]
    assert [layer.type for layer in deploy.layer].count("Softmax") == 1


def test_a_net_without_scores_or_data_has_no_deploy() -> None:
    with pytest.raises(FerError, match="no loss"):
        derive_deploy(parse('layer { name: "d" type: "Data" top: "d" }'), (1, 4, 4))
    with pytest.raises(FerError, match="no data layer"):
        derive_deploy(parse('layer { name: "l" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "l" }'), (1, 4, 4))


# ---- finding ---------------------------------------------------------------------------------------------------------


def test_shipped_nets_are_found_by_name() -> None:
    assert zoo.find_net("lenet") == zoo.NETS / "lenet" / "train_val.prototxt"
    assert zoo.find_solver("lenet", "s2").name == "solver_s2.prototxt"
    assert zoo.net_label(zoo.find_net("alexnet")) == "alexnet"


def test_a_users_own_files_are_found_by_path(write: Write, tmp_path: Path) -> None:
    net, solver = write(SMALL, "my net.prototxt"), write("", "mine.prototxt")
    assert zoo.find_net(net) == net
    assert zoo.find_solver(net, solver) == solver
    assert zoo.find_solver("lenet", str(solver)) == solver
    assert zoo.net_label(net) == "my_net"
    train_val = write(SMALL, "train_val.prototxt")
    assert zoo.find_net(tmp_path) == train_val
    assert zoo.net_label(tmp_path / "x" / ".." / "train_val.prototxt") == zoo.net_label(train_val) == tmp_path.name
    assert zoo.run_label(zoo.find_net("lenet"), zoo.find_solver("lenet", "s2")) == "lenet-s2"


def test_names_nobody_knows_list_the_valid_ones(write: Write) -> None:
    with pytest.raises(FerError, match=r"(?s)did you mean lenet\?.*shipped nets: alexnet, .*lenet"):
        zoo.find_net("lenett")
    with pytest.raises(FerError, match="s1, s2, s3"):
        zoo.find_solver("alexnet", "best")
    with pytest.raises(FerError, match="no solvers beside it"):
        zoo.find_solver(write(SMALL), "s1")
