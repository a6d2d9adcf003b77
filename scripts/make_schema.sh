#!/bin/sh
# Regenerate fer/schema/caffe_pb2.py and its types, caffe_pb2.pyi, from fer/schema/caffe.proto:  scripts/make_schema.sh
# protoc 3.20 (grpcio-tools 1.48.2, CPython 3.10): its modules import with every protobuf from 3.20 to 7. It knows no
# types, so these come from a newer one.
set -eu
cd "$(dirname "$0")/../fer/schema"
PATH="$PATH:$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin 2>/dev/null | tail -n 1)"
uv run --no-project --python 3.10 --with grpcio-tools==1.48.2 --with 'setuptools<70' \
    python -m grpc_tools.protoc -I. --python_out=. caffe.proto
uv run --no-project --python 3.10 --with grpcio-tools==1.76.0 \
    python -m grpc_tools.protoc -I. --pyi_out=. caffe.proto
