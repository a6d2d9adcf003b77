"""A report that is there already, where it is what would be made now: nothing is computed or drawn again."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from fer import __version__
from fer.data.manifest import MANIFEST
from fer.errors import FerError
from fer.report.files import MARK
from fer.report.results import ComparisonResult, EnsembleResult, RunResult
from fer.runs.run import RUN_JSON, Run
from fer.system.hashes import content_hash, file_hash
from fer.system.records import read_record

_DRAWN_BY = ("matplotlib", "scikit-learn", "numpy")


def report_folder(runs: Sequence[Run], *, ensemble: bool = False) -> Path:
    """Where a report goes by default: into the run, or beside the first of several, called after all."""
    if len(runs) == 1:
        return runs[0].report_dir
    names = "-".join(("ensemble" if ensemble else "compare", *(run.name for run in runs)))
    return runs[0].dir.parent / names[:100]


def find_report(
    runs: Sequence[Run], out: Path | None, *, ensemble: bool = False, val_only: bool = False
) -> RunResult | ComparisonResult | EnsembleResult | None:
    """What metrics.json holds of the report in `out`, where that is whole and made from all that the runs hold now."""
    folder = out or report_folder(runs, ensemble=ensemble)
    kind = EnsembleResult if ensemble else RunResult if len(runs) == 1 else ComparisonResult
    try:
        found = read_record(folder / MARK, kind)
        files = {name: (folder / name).read_bytes() for name in found.files if name != MARK}
    except (FerError, OSError):
        return None
    made_from = fingerprint(runs, ensemble=ensemble, val_only=val_only)
    if found.report != str(folder) or (found.made_from, found.files_sha256) != (made_from, files_hash_of(files)):
        return None
    return found


def files_hash_of(files: Mapping[str, bytes]) -> str:
    """One hash of a report's files."""
    return content_hash(*(part for name in sorted(files) for part in (name, files[name])))


def fingerprint(runs: Sequence[Run], *, ensemble: bool = False, val_only: bool = False) -> str:
    """One hash of all that a report is made from: what the runs hold, how it is asked for, and what makes it."""
    versions = [f"{name} {version(name)}" for name in _DRAWN_BY]
    code = (file_hash(path) for path in sorted(Path(__file__).parent.rglob("*.[pj]*")) if path.suffix in (".py", ".j2"))
    held = (f"{path.name} {digest}" for run in runs for path, digest in _held(run))
    asked = [str(ensemble), str(val_only), *(str(run.dir) for run in runs)]
    return content_hash(__version__, *versions, *code, *asked, *held)


def _held(run: Run) -> Iterator[tuple[Path, str]]:
    """Each file of a run that a report reads, and its hash."""
    scores = sorted((run.dir / "scores").glob("*"))
    manifest = Path(run.record.data.dir) / MANIFEST
    for path in (run.dir / RUN_JSON, run.log, run.solver, run.net, run.deploy, manifest, *scores):
        yield path, file_hash(path) if path.is_file() else ""
