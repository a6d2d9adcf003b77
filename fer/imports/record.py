"""run.json of a training made elsewhere: what its files say, and of all else that it is unknown."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer import __version__
from fer.data.manifest import MANIFEST, Manifest
from fer.formats.log_records import Log
from fer.imports.parts import Parts
from fer.imports.snapshots import Pair
from fer.nets.files import with_paths
from fer.nets.states import filter_net, train_state
from fer.nets.zoo import file_name
from fer.runs.record import UNKNOWN, Imported, ImportedFile, RunRecord, SnapshotFiles, TrainedOn
from fer.schema import caffe_pb2
from fer.system.hashes import file_hash
from fer.training.first_record import data_hashes, listed_images

NO_STATE = "No .solverstate of it was taken over: it can be scored, but not trained further."
NO_ITERATION = "Of which iteration its weights are is not known; they are called 0."
MOVED = "Its parameters were put into the data's order of classes."


@dataclass(frozen=True)
class Facts:
    """What is known of a training that is imported."""

    paths: Sequence[Path]
    data_dir: Path
    manifest: Manifest
    parts: Parts
    solver: caffe_pb2.SolverParameter | None
    engine: str
    pairs: Sequence[Pair]
    snapshots: Mapping[int, SnapshotFiles]
    log: Log | None
    log_file: Path | None
    classes: tuple[str, ...]
    images: str
    made_by: str
    notes: tuple[str, ...]
    moved: bool

    @property
    def iteration(self) -> int:
        return max(self.snapshots)

    @property
    def resumable(self) -> bool:
        return any(files.state for files in self.snapshots.values())


def imported_record(facts: Facts, net: caffe_pb2.NetParameter, folder: Path, net_name: str) -> RunRecord:
    """run.json of the run that is made in `folder`, whose snapshots are called by `net_name`."""
    solver, parts = facts.solver, facts.parts
    notes = [*facts.notes, *[NO_ITERATION] * (0 in facts.snapshots), *[NO_STATE] * (not facts.resumable)]
    return RunRecord(
        **_reached(facts),
        command=("fer", *sys.argv[1:]),
        engine=UNKNOWN,
        precision=UNKNOWN,
        net=net_name,
        solver=file_name(Path(parts.solver.base).stem.removeprefix("solver_")) if parts.solver else UNKNOWN,
        seed=solver.random_seed if solver else -1,
        gpu=None,
        batch_size=_batch_size(net, solver) if solver and parts.nets else 0,
        data=_data(facts, net, folder),
        prototxt_sha256={},
        versions={"fer": __version__},
        hardware={"cpu": UNKNOWN, "gpu": UNKNOWN},
        started=UNKNOWN,
        seconds=facts.log.seconds if facts.log else None,
        repeatable=UNKNOWN,
        snapshots=dict(facts.snapshots),
        warnings=(),
        notes=(*notes, *[MOVED] * facts.moved),
        log_sha256=file_hash(facts.log_file) if facts.log_file else None,
        imported=Imported(
            source=tuple(map(str, facts.paths)),
            engine=facts.engine,
            classes=facts.classes,
            images=facts.images,
            files=_files(facts),
            made_by=facts.made_by,
        ),
    )


def _reached(facts: Facts) -> dict[str, Any]:
    """How far it is, and where it was to end."""
    end = facts.solver.max_iter if facts.solver and facts.iteration else facts.iteration
    finished = facts.iteration >= end
    return {
        "state": "finished" if finished else "interrupted",
        "iteration": facts.iteration,
        "max_iter": max(end, facts.iteration),
        "ended": UNKNOWN,
    }


def _batch_size(net: caffe_pb2.NetParameter, solver: caffe_pb2.SolverParameter) -> int:
    """Images of an iteration, on one GPU."""
    for layer in filter_net(net, train_state(solver)).layer:
        if batch := layer.data_param.batch_size or layer.image_data_param.batch_size:
            return batch * solver.iter_size
    return 0


def _data(facts: Facts, net: caffe_pb2.NetParameter, folder: Path) -> TrainedOn:
    """The data directory that it is scored on and may be trained further on, and the run's own mean."""
    here = with_paths(net, lambda path: path if Path(path).is_absolute() else str(folder / path))
    hashes = {
        str(Path(path).relative_to(folder)) if Path(path).is_relative_to(folder) else path: digest
        for path, digest in data_hashes(here, facts.data_dir).items()
    }
    return TrainedOn(
        dir=str(facts.data_dir.resolve()),
        files=hashes,
        title=facts.manifest.title,
        manifest_sha256=file_hash(facts.data_dir / MANIFEST),
        train_count=facts.manifest.splits["train"].count,
        classes=facts.manifest.classes,
        images=listed_images(here),
    )


def _files(facts: Facts) -> tuple[ImportedFile, ...]:
    """The parts and snapshots that were taken, as they were given."""
    parts = facts.parts
    named = {file.name: file for file in (*parts.nets, *parts.means, *parts.labels, *parts.logs)}
    named |= {file.name: file for file in (parts.deploy, parts.solver, parts.info) if file}
    snapshots = [("weights", pair.weights) for pair in facts.pairs]
    snapshots += [("solver state", pair.state) for pair in facts.pairs if pair.state]
    taken = [(part, named[name]) for part, name in parts.said if name in named]
    return tuple(ImportedFile(part, file.name, file_hash(file.path)) for part, file in (*taken, *snapshots))
