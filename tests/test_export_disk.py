"""fer export where there is not enough room: nothing that looks whole is left, of any form."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import made_model
import pytest

from fer import cli
from fer.engines.registry import ENGINES
from fer.export import proof
from fer.export.exported import export_run
from fer.export.forms import FORMS
from fer.runs.run import Run

PAGE = 4096


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, proved_forms: list[str]) -> Iterator[tuple[Run, Path]]:
    """A run, and all its forms with room enough."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENGINES, "pytorch", made_model.here)
        run = made_model.make_run(folder)
        for name in list(ENGINES):
            patch.delitem(ENGINES, name)
        patch.setattr(proof, "AGREEMENT", 0.7)
        for tool in {form.tool for name in proved_forms if (form := FORMS[name]).tool}:
            tool.find()
        export_run(run, folder / "out", forms=proved_forms)
        yield run, folder / "out"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of no room to speak of yet."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def room(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(-(-each.stat().st_size // PAGE) * PAGE for each in files)


@pytest.mark.full
def test_a_full_disk_leaves_nothing_that_looks_whole(
    exported: tuple[Run, Path], form_name: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Full at three quarters of the form: all before it has room."""
    run, out = exported
    later = {"model.json", "README.md", "run.json", "calibration", *(form.file for form in FORMS.values())}
    before = sum(room(path) for path in out.iterdir() if path.name not in later)
    size = before + room(out / FORMS[form_name].file) * 3 // 4 // PAGE * PAGE
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
    assert cli.main(["export", str(run.dir), "--no-onnx", "--format", form_name, "--out", str(disk / "out")]) == 1
    assert "full" in (said := capsys.readouterr().err) and len(said.splitlines()) <= 3, said
    assert list(disk.iterdir()) == []
