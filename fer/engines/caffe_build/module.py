"""pycaffe's files that are not compiled, and the `caffe` that starts with the Python that it is for."""

import shlex
import shutil
from pathlib import Path

from google.protobuf import descriptor_pb2

from fer.engines.caffe_build.compilation import Compilation

# As protoc 3.20 and later write it; older ones write what today's protobuf refuses.
_MESSAGES = '''"""Caffe's messages; generated from caffe.proto."""
from google.protobuf import descriptor_pool as _descriptor_pool
from google.protobuf.internal import builder as _builder

DESCRIPTOR = _descriptor_pool.Default().AddSerializedFile({!r})
_builder.BuildMessageAndEnumDescriptors(DESCRIPTOR, globals())
_builder.BuildTopDescriptorsAndMessages(DESCRIPTOR, "caffe_pb2", globals())
'''
# The Python inside, which runs Python layers, would look for its library by PATH.
_CAFFE = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export PYTHONHOME={home} PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}$here/../python:"{packages}
exec "$here/caffe.bin" "$@"
"""


def finish_module(compilation: Compilation) -> None:
    """Write python/caffe, but for its compiled module, and bin/caffe, which starts bin/caffe.bin."""
    python = compilation.folder / "python" / "caffe"
    ignored = shutil.ignore_patterns("test", "*.cpp", "__pycache__")
    shutil.copytree(compilation.source / "python" / "caffe", python, ignore=ignored)
    (python / "proto").mkdir()
    (python / "proto" / "__init__.py").touch()
    described = descriptor_pb2.FileDescriptorSet.FromString((compilation.generated / "caffe.description").read_bytes())
    text = _MESSAGES.format(described.file[0].SerializeToString())
    (python / "proto" / "caffe_pb2.py").write_text(text, encoding="ascii")
    home, packages = compilation.python.home, compilation.python.packages_folder
    caffe = compilation.folder / "bin" / "caffe"
    caffe.parent.mkdir()
    caffe.write_text(_CAFFE.format(home=_quoted(home), packages=_quoted(packages)), encoding="utf-8")
    caffe.chmod(0o755)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
