"""What one would do next with a run, as commands to copy: the board starts nothing itself."""

from dataclasses import dataclass

from fer.board.watch import WatchedRun
from fer.system.shell import command

FEW = 3  # snapshots that are worth a mean


@dataclass(frozen=True)
class Step:
    what: str
    command: str


def next_steps(watched: WatchedRun) -> list[Step]:
    """In the order in which they make sense."""
    run, row = watched.run, watched.row.listed
    if run is None or row is None:
        return []
    steps, snapshots = [], run.snapshots()
    goes_on = row.state != "training" and row.iteration < row.max_iter
    if goes_on and any(snapshot.state for snapshot in snapshots):
        steps.append(Step("go on with the training", command("fer", "train", "--resume", run.dir)))
    if row.state == "training":
        return steps
    if len(snapshots) >= FEW and not run.averages():
        steps.append(Step("the mean of the last snapshots", command("fer", "average", run.dir)))
    if snapshots:
        scored = run.scores("val").is_file()
        anew = "bring its report up to date" if scored else "score it and draw its report"
        steps.append(Step(anew, command("fer", "report", run.dir)))
        if scored:
            steps.append(Step("for pycaffe, OpenCV and ONNX", command("fer", "export", run.dir)))
            steps.append(Step("look at a photo with it", command("fer", "predict", "photo.jpg", "--model", run.dir)))
    return steps
