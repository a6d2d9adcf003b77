"""Files that a net makes real Caffe write: HDF5Output opens its own wherever it is told to, and empties it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fer.errors import FerError
from fer.nets.lint import net_lines
from fer.schema import caffe_pb2

ENDINGS = (".h5", ".hdf5")


def outside_files(net: caffe_pb2.NetParameter, folder: Path | None = None) -> Iterator[tuple[int, str]]:
    """Positions of the layers that would write a file elsewhere than beside the net, and a sentence for each.

    `folder` is where the net is run: a link that lies there already leads elsewhere, too.
    """
    for i, layer in enumerate(net.layer):
        name = layer.hdf5_output_param.file_name
        if layer.type != "HDF5Output" or (
            Path(name).name == name and name.endswith(ENDINGS) and not (folder and (folder / name).is_symlink())
        ):
            continue
        yield (
            i,
            (
                f"layer {layer.name!r} would have Caffe overwrite {name!r}: "
                f"give a file_name without folders that ends with {' or '.join(ENDINGS)}, and is no link"
            ),
        )


def check_written(net: caffe_pb2.NetParameter, path: Path, folder: Path | None = None) -> None:
    """Raise FerError where a net as read from `path` would write a file elsewhere."""
    for i, sentence in outside_files(net, folder):
        raise FerError(f"{path}:{net_lines(net, path)[i]}: {sentence}")
