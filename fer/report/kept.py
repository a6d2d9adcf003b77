"""A report that is there already, where it is what would be made now: nothing is computed or drawn again."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from fer import __version__
from fer.data.manifest import MANIFEST
from fer.errors import FerError
from fer.inference.model_record import MODEL_JSON
from fer.report.files import MARK
from fer.report.results import ComparisonResult, EnsembleResult, RunResult
from fer.runs.run import RUN_JSON, Run
from fer.system.hashes import content_hash, file_hash
from fer.system.records import read_record

_DRAWN_BY = ("matplotlib", "scikit-learn", "numpy", "scipy", "pandas")
_CODE = (".py", ".j2", ".css", ".js")
_MADE_BY = ("report", "evaluation", "formats", "runs", "nets", "data")  # the packages whose code makes the numbers


def find_report(
    runs: Sequence[Run], out: Path, *, ensemble: bool = False, val_only: bool = False
) -> RunResult | ComparisonResult | EnsembleResult | None:
    """What metrics.json holds of the report in `out`, where that is whole and made from all that the runs hold now."""
    several = EnsembleResult if ensemble else ComparisonResult
    kind: type[RunResult | ComparisonResult | EnsembleResult] = RunResult if len(runs) == 1 else several
    try:
        found = read_record(out / MARK, kind)
        files = {name: (out / name).read_bytes() for name in found.files if name != MARK}
    except (FerError, OSError):
        return None
    made_from = fingerprint(runs, ensemble=ensemble, val_only=val_only)
    if found.report != str(out) or (found.made_from, found.files_sha256) != (made_from, files_hash_of(files)):
        return None
    return found


def files_hash_of(files: Mapping[str, bytes]) -> str:
    """One hash of a report's files."""
    return content_hash(*(part for name in sorted(files) for part in (name, files[name])))


def fingerprint(runs: Sequence[Run], *, ensemble: bool = False, val_only: bool = False) -> str:
    """One hash of all that a report is made from: what the runs hold, how it is asked for, and what makes it."""
    versions = [f"{name} {version(name)}" for name in _DRAWN_BY]
    fer = Path(__file__).parents[1]
    files = (path for package in _MADE_BY for path in sorted((fer / package).rglob("*.*")))
    code = (file_hash(path) for path in files if path.suffix in _CODE)
    held = (f"{path.name} {digest}" for run in runs for path, digest in _held(run))
    asked = [str(ensemble), str(val_only), *(f"{run.dir} {run.record.data.dir}" for run in runs)]
    return content_hash(__version__, *versions, *code, *asked, *held)


def _held(run: Run) -> Iterator[tuple[Path, str]]:
    """Each file of a run that a report reads, and its hash."""
    scores = sorted(run.scores_dir.glob("*"))
    manifest = Path(run.record.data.dir) / MANIFEST
    made = (run.dir / RUN_JSON, run.log, run.solver, run.net, run.deploy, run.export_dir / MODEL_JSON)
    for path in (*made, manifest, *scores):
        yield path, file_hash(path) if path.is_file() else ""
