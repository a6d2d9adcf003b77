"""What run.json says of a training before its first iteration."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fer.data.dataset import held_out
from fer.data.manifest import MANIFEST
from fer.engines.engine import Engine
from fer.formats.hdf5 import listed_files
from fer.formats.image_list import images_hash
from fer.runs.record import Gpu, ListedImages, RunRecord, TrainedOn
from fer.schema import caffe_pb2
from fer.system.hardware import git_commit, hardware
from fer.system.hashes import file_hash
from fer.training.preflight.plan import Plan


def first_record(
    plan: Plan, net_name: str, solver_path: Path, data_dir: Path, engine: Engine, gpus: tuple[int, ...]
) -> RunRecord:
    """run.json as it is before the first iteration."""
    return RunRecord(
        state="training",
        command=("fer", *sys.argv[1:]),
        engine=engine.name,
        net=net_name,
        solver=solver_path.stem.removeprefix("solver_"),
        seed=plan.solver.random_seed,
        gpu=gpu_field(gpus),
        precision=engine.precision,
        batch_size=plan.batch_size,
        data=TrainedOn(
            dir=str(Path(data_dir).resolve()),
            title=plan.manifest.title,
            manifest_sha256=file_hash(Path(data_dir) / MANIFEST),
            train_count=plan.train_count,
            files=data_hashes(plan.net, data_dir),
            classes=plan.manifest.classes,
            images=listed_images(plan.net),
        ),
        prototxt_sha256={},
        versions={},
        hardware=hardware(gpus),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=0.0,
        max_iter=plan.solver.max_iter,
        iteration=0,
        given=plan.given,
        patience=None,
        ended=None,
        repeatable=_repeatable(plan.solver, engine, gpus),
        snapshots={},
        warnings=plan.warnings,
        adapted=plan.adapted,
        git_commit=git_commit(),
    )


def gpu_field(gpus: tuple[int, ...]) -> Gpu:
    """As run.json has them: null, 0 or "0,1"."""
    return ",".join(map(str, gpus)) if len(gpus) > 1 else gpus[0] if gpus else None


def _repeatable(solver: caffe_pb2.SolverParameter, engine: Engine, gpus: tuple[int, ...]) -> str:
    if solver.random_seed < 0:
        return "no: no --seed was given, so weights and order of crops are drawn anew each time"
    if gpus:
        return "nearly: same seed and data, but sums on a GPU are in no fixed order"
    threads = f"{engine.threads} thread{'s' * (engine.threads != '1')}"
    return (
        f"to the last printed digit with this seed, data, prototxts, engine version and CPU type, with {threads}; "
        "stopping and resuming changes nothing but the display of average_loss"
    )


def data_hashes(net: caffe_pb2.NetParameter, data_dir: Path) -> dict[str, str]:
    """SHA-256, by path, of every file that the net's layers read and of the databases it will be scored on."""
    scored = (Path(data_dir).resolve() / f"{split}_lmdb" / "data.mdb" for split in held_out())
    return {str(path): file_hash(path) for path in sorted({*_data_files(net), *scored})}


def listed_images(net: caffe_pb2.NetParameter) -> tuple[ListedImages, ...]:
    """The images of each list that the net's layers read."""
    params = [layer.image_data_param for layer in net.layer if layer.image_data_param.source]
    lists = sorted({(param.source, param.root_folder) for param in params})
    return tuple(ListedImages(path, root, images_hash(Path(path), root)) for path, root in lists)


def _data_files(net: caffe_pb2.NetParameter) -> Iterator[Path]:
    for layer in net.layer:
        if layer.data_param.source:
            yield Path(layer.data_param.source) / "data.mdb"
        sources = (layer.image_data_param.source, layer.hdf5_data_param.source, layer.infogain_loss_param.source)
        for name in (*sources, layer.transform_param.mean_file):
            if name:
                yield Path(name)
        if layer.hdf5_data_param.source:  # a relative name is the engine's to refuse
            yield from (file for file in listed_files(Path(layer.hdf5_data_param.source)) if file.is_absolute())
