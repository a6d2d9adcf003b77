"""The list of Caffe's ImageData layer: in each line an image file, a space, and a label."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fer.errors import FerError
from fer.system.hashes import files_hash

_LABEL = re.compile(r"[+-]?[0-9]{1,10}")


@dataclass(frozen=True)
class ListedImage:
    """A line of a list, counted from 1: the file's name, which may hold spaces, and its label."""

    line: int
    name: str
    label: int


def read_list(path: Path) -> list[ListedImage]:
    """The lines of a list as Caffe takes them: the label is what stands behind the last space.

    Raises FerError, with the line, where Caffe would look for another file than is meant, or make 0 of the label.
    """
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise FerError(f"{path}: cannot read the list of images: {error.strerror}") from None
    if not text:
        raise FerError(f"{path}: the list of images is empty")
    images = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        name, _, label = line.rpartition(" ")
        label = label.removesuffix("\r")
        if not name.strip() or not _LABEL.fullmatch(label):
            raise FerError(f"{path}:{number}: {_fault(line)}: expected `FILE LABEL`, found {line[:80]!r}")
        images.append(ListedImage(number, name, int(label)))
    return images


def images_hash(path: Path, root: str) -> str:
    """The SHA-256 over those of the images that a list names, `root` in front of each name, in its order.

    Raises FerError where one cannot be read.
    """
    names = [image.name for image in read_list(path)]
    if root.endswith("/"):
        return files_hash(Path(root), names, by=path)
    return files_hash(Path("/"), [os.path.abspath(root + name)[1:] for name in names], by=path)  # noqa: PTH100


def _fault(line: str) -> str:
    if not line.strip():
        return "Caffe takes an empty line for an image without a name"
    if line.rstrip("\r").endswith(" "):
        return "Caffe takes what is behind the last space for the label, and there is nothing"
    if " " not in line and "\t" in line:
        return "Caffe wants a space in front of the label, not a tab"
    return "no whole number behind the last space"
