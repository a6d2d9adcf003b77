"""The mean of a run's last snapshots as one more snapshot, which the choice on val may take.

average_run(Run("runs/vgg8-s1"), last=5)     # writes runs/vgg8-s1/snapshots/vgg8_average_22500-27000.caffemodel
"""

from collections.abc import Callable, Sequence

from fer.engines.registry import find_engine
from fer.errors import FerError, UsageError
from fer.formats.prototxt import read_net, read_solver
from fer.nets.states import train_state
from fer.nets.wiring import learns_statistics
from fer.runs.run import Run, Snapshot
from fer.runs.snapshots import SnapshotKeeper
from fer.runs.unchanged import check_data, check_run, data_dir
from fer.training.run_prototxts import settle_paths

LAST = 5


def average_run(
    run: Run,
    *,
    last: int | None = None,
    first: int | None = None,
    batches: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Snapshot:
    """Average the weights of a run's snapshots, with an engine of ours. Returns the new one, listed in run.json.

    last     how many snapshots, the newest ones (5 where nothing is said, or all where there are fewer)
    first    all from this iteration on, instead
    batches  of the training data that BatchNorm's statistics are measured on, for nets that have it (None: an epoch)
    Raises FerError where there are no two snapshots, one has changed, or the run is being trained.
    """
    tell = progress or (lambda stage, done, total: None)
    with run.locked():
        check_run(run)
        data_dir(run)
        check_data(run)
        settle_paths(run)
        parts = _parts(run, last, first)
        for part in parts:
            run.weights_hash(part)
        engine = find_engine("tensorflow" if run.record.engine == "tensorflow" else "pytorch")
        solver = read_solver(run.solver)
        state = train_state(solver)
        net = run.net.relative_to(run.dir)
        shapes = engine.describe(net, state, folder=run.dir)["params"]
        if batches is not None and not any(map(learns_statistics, read_net(run.net).layer)):
            raise UsageError(f"--batches: {run.dir} has no BatchNorm layer whose statistics would be measured")
        averaged = [part.iteration for part in parts]
        run.unverified_dir.mkdir(parents=True, exist_ok=True)
        made = engine.average(
            net,
            [part.weights.relative_to(run.dir) for part in parts],
            (run.unverified_dir / run.average_file(averaged).name).relative_to(run.dir),
            batches=batches,
            state=state,
            gpu=engine.first_gpu(run.record.gpu),
            folder=run.dir,
            progress=lambda done, total: tell("measuring statistics", done, total),
        )
        return SnapshotKeeper(run, shapes, solver.type).adopt_average(averaged, batches=made)


def _parts(run: Run, last: int | None, first: int | None) -> Sequence[Snapshot]:
    parts = [snapshot for snapshot in run.snapshots() if first is None or snapshot.iteration >= first]
    if first is None:
        parts = parts[-(last or LAST) :]
    if len(parts) < 2:
        known = ", ".join(snapshot.name for snapshot in run.snapshots()) or "none"
        raise FerError(f"a mean needs two snapshots or more, and this would be of {len(parts)}; {run.dir} has {known}")
    return parts
