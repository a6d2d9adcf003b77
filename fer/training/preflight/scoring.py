"""That the report will score what the net is tested on: a net whose images it cannot read so is refused."""

import os
from pathlib import Path

from fer.data.manifest import Manifest
from fer.errors import FerError
from fer.evaluation.splits import SplitSource, check_alike, reading
from fer.nets.deploy import find_judge, label_fault
from fer.nets.states import filter_net, scored_state
from fer.system.hashes import file_hash
from fer.training.preflight.subject import Subject


def scored_shape(subject: Subject, data_dir: Path, manifest: Manifest) -> tuple[int, int, int]:
    """(channels, height, width) of the images that the net is tested on and will be scored on, before any crop.

    Raises FerError, with file and line, where val and test could not be scored as the net's own test reads val.
    """
    state = scored_state(subject.solver)
    position = 0
    try:
        read = reading(subject.net, state, data_dir.resolve())
        position = next(i for i in subject.positions(state) if subject.net.layer[i] == read.layer)
        val, test = read.sources["val"], read.sources["test"]
        tested = filter_net(subject.net, state)
        if fault := label_fault(tested, len(manifest.classes)):
            judge = find_judge(tested)
            position = next(i for i in subject.positions(state) if subject.net.layer[i] == judge)
            raise FerError(f"{fault}, and the report scores by all labels of {val.path}: have that hold the right ones")
        if _is_private_test(val, data_dir, manifest):
            raise FerError(
                f"layer {read.layer.name!r} tests on {val.path}, the images of PrivateTest: they must choose nothing\n"
                "take val_lmdb (or val.txt); fer report scores PrivateTest once, with what val has chosen"
            )
        check_alike(val, test)
        if val.is_list and not read.layer.image_data_param.new_height:  # which a test takes where it crops them all
            val.check_images(one_size=True)
        return val.shape
    except FerError as error:
        raise FerError(subject.fault(position, str(error))) from None


def _is_private_test(val: SplitSource, data_dir: Path, manifest: Manifest) -> bool:
    """Whether val's source is the data directory's test split, a copy of it, or a list of its images."""
    if not val.own:
        return False
    known = {written.sha256 for name, written in manifest.files.items() if name in ("test_lmdb/data.mdb", "test.txt")}
    folders = {os.path.realpath(Path(val.root + name).parent) for name in val.names()} if val.is_list else set()
    return file_hash(val.file) in known or os.path.realpath(data_dir / "test") in folders
