"""Caffe's schema: our messages are the real Caffe's, field for field, and the generated module is up to date."""

import json
import subprocess
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from fer.engines.interpreter import CaffePython
from fer.schema import caffe_pb2

SCHEMA = Path(caffe_pb2.__file__).parent

NOT_IN_WHEEL = {"LayerParameter.clip_param", "ClipParameter.min", "ClipParameter.max"}  # newer than it
NOT_IN_BVLC = {"V0LayerParameter.axis"}  # of the wheel's own

DUMP = """
import json, sys
from caffe.proto import caffe_pb2
# Protocol Buffers 7 has no f.label, 3.20 no f.is_repeated.
label = lambda f: f.label if hasattr(f, "label") else 3 if f.is_repeated else 2 if f.is_required else 1
print(json.dumps({
    name: {f.name: [f.number, f.type, label(f), repr(f.default_value)] for f in m.fields}
    for name, m in caffe_pb2.DESCRIPTOR.message_types_by_name.items()
}))
"""


def fields_of(message: Descriptor) -> dict[str, list[object]]:
    labels = {f.name: 3 if f.is_repeated else 2 if f.is_required else 1 for f in message.fields}
    return {f.name: [f.number, f.type, labels[f.name], repr(f.default_value)] for f in message.fields}


def test_messages_hold_what_caffe_defines() -> None:
    ours = caffe_pb2.DESCRIPTOR.message_types_by_name
    assert fields_of(ours["Datum"])["encoded"][0] == 7
    assert fields_of(ours["LayerParameter"])["lrn_param"][0] == 118
    assert caffe_pb2.SolverParameter().type == "SGD"


@pytest.mark.full
def test_every_field_is_the_real_caffes(caffe: CaffePython) -> None:
    answer = subprocess.run(
        [caffe.python, "-c", DUMP], env=caffe.environment, check=True, capture_output=True, text=True
    )
    messages = json.loads(answer.stdout)
    theirs = {f"{name}.{field}": facts for name, fields in messages.items() for field, facts in fields.items()}
    ours = {
        f"{name}.{field}": facts
        for name, message in caffe_pb2.DESCRIPTOR.message_types_by_name.items()
        for field, facts in fields_of(message).items()
    }
    missing = ours.keys() - theirs.keys()
    assert missing == (NOT_IN_WHEEL if caffe.build is None else NOT_IN_BVLC)
    assert {name: theirs[name] for name in ours.keys() - missing} == {
        name: ours[name] for name in ours.keys() - missing
    }


def test_generated_module_is_of_this_proto() -> None:
    """The module carries the file it was generated from: compare that with a descriptor built from the text."""
    text = (SCHEMA / "caffe.proto").read_text()
    for name, message in caffe_pb2.DESCRIPTOR.message_types_by_name.items():
        assert f"message {name} {{" in text
        for field in message.fields:
            assert f" {field.name} = {field.number}" in text
    assert text.count("\nmessage ") == len(caffe_pb2.DESCRIPTOR.message_types_by_name)
