"""What of a training's parts is there once only in its net: the mean, the class names, DIGITS' own words."""

import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from fer.data.class_names import class_order, meaning, names_in, read_labels
from fer.data.classes import as_text
from fer.errors import FerError
from fer.formats.database import read_mean
from fer.formats.mean import NPY, find_mean, read_npy
from fer.imports.given import Given, GivenFile
from fer.imports.parts import Parts, base_name, nearest_to, several
from fer.imports.recognise import Kind
from fer.runs.record import UNKNOWN


def choose_classes(
    parts: Parts, given: Given, labels: str | None, classes: Sequence[str]
) -> tuple[list[str], list[int]]:
    """(the net's own names in its order, where in it the data's classes are).

    Raises FerError where nothing says the order, several files do, or the names are not those of the data.
    """
    if labels is not None:
        named = _inside(labels, given)
        names = _names_of(named, classes) if named else read_labels(labels, classes)
        return names, list(class_order(names, classes, f"--labels {labels}"))
    found, faults = list[tuple[GivenFile, list[str]]](), list[str]()
    for file in parts.labels:
        try:
            found.append((file, _names_of(file, classes)))
        except FerError as error:
            faults.append(str(error))
    known = set(map(meaning, classes))
    fitting = [each for each in found if set(map(meaning, each[1])) == known] or found
    if len({tuple(names) for _, names in fitting}) > 1:
        near = nearest_to(parts.home, [file for file, _ in fitting])
        fitting = [each for each in fitting if each[0] in near]
    if not fitting:
        looked_for = faults[0] if faults else "looked for a labels.txt, a name on each line"
        raise FerError(
            f"the order of the net's classes is not known, and is not guessed: {looked_for}\n"
            f"give its path too, or --labels {','.join(classes)}  in the net's own order"
        )
    if len({tuple(names) for _, names in fitting}) > 1:
        raise several(Kind.LABELS, [file for file, _ in fitting], "--labels")
    file, names = fitting[0]
    parts.took(Kind.LABELS, file)
    return names, list(class_order(names, classes, file.name))


def _names_of(file: GivenFile, classes: Sequence[str]) -> list[str]:
    try:
        return names_in(as_text(file.path.read_bytes()), classes)
    except ValueError as error:
        raise FerError(f"{file.name}: no list of class names: {error}") from None


def _inside(given: str, files: Given) -> GivenFile | None:
    """The file of an archive that an option names, unless it is there by itself."""
    wanted = PurePosixPath(given).parts
    if os.path.isfile(given) or not wanted:  # noqa: PTH113 -- Path.is_file() raises for a name of 255 bytes
        return None
    matching = [file for file in files.files if PurePosixPath(file.name).parts[-len(wanted) :] == wanted]
    return matching[0] if len(matching) == 1 else None


def choose_mean(
    parts: Parts,
    given: Given,
    option: str | None,
    mean_file: str | None,
    say: Callable[[str], None],
    matrices: Collection[str] = (),
) -> np.ndarray | None:
    """The mean that was asked for, or the one that the net takes away: float32 [C, H, W] or [C, 1, 1].

    `mean_file` is the net's own word for it, "" where it takes none away, None where that is not known; `matrices` are
    the names of files that look like a mean and are InfogainLoss's. Raises FerError where several may be meant.
    """
    if option is not None:
        named = _inside(option, given)
        return _read(named) if named else find_mean(option)
    found = [file for file in parts.means if file.base not in matrices]
    if mean_file == "":
        for file in found:
            say(f"left out: {file.name}: the net takes no mean away")
        return None
    if mean_file and len(found) > 1:
        base = base_name(mean_file)
        found = [file for file in found if file.base == base] or found
    if mean_file and not found:
        found = [there for net in parts.nets[-1:] if (there := net.beside(mean_file))]
        parts.means += found
    found = nearest_to(parts.home, found)
    if len(found) > 1:
        raise several(Kind.MEAN, found, "--mean")
    if not found:
        return None
    parts.took(Kind.MEAN, found[0])
    return _read(found[0])


def _read(file: GivenFile) -> np.ndarray:
    with file.path.open("rb") as stream:
        is_npy = stream.read(len(NPY)) == NPY
    with file.told():
        return read_npy(file.path) if is_npy else read_mean(file.path)


def read_info(parts: Parts) -> dict[str, Any]:
    """DIGITS' info.json; {} where there is none."""
    if parts.info is None:
        return {}
    parts.took(Kind.INFO, parts.info)
    said: dict[str, Any] = json.loads(parts.info.path.read_bytes())
    return said


def size_said(info: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of the images, as DIGITS has them."""
    match info.get("image dimensions"):
        case [int(height), int(width), *_] if 0 < height < 10_000 and 0 < width < 10_000:
            return height, width
    return None


def maker_said(info: dict[str, Any]) -> str:
    """The Caffe that trained: "NVIDIA Caffe 0.15.9"; "unknown" where DIGITS does not say."""
    flavour, version = (str(info[key]) if key in info else "" for key in ("caffe flavor", "caffe version"))
    named = " ".join(filter(None, (flavour, "Caffe", version)))
    digits = f"DIGITS {info['digits version']}" if "digits version" in info else ""
    return ", ".join(filter(None, (named if flavour or version else "", digits))) or UNKNOWN
