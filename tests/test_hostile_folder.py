"""Folders that people send each other, or that fer is started in, hold data: no code in them is run."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import training

from fer.engines import interpreter
from fer.engines.interpreter import PYTHON, find_caffe
from fer.system.hardware import git_commit
from fer.system.script_python import starts

FER = Path(sys.executable).with_name("fer")
PACKAGES = ("fer", "cv2", "numpy", "caffe", "torch", "google")
OURS = ("augment", "augmentation", "ipc", "worker", "worker_training", "sitecustomize", "usercustomize", "backend")


def lay_traps(folder: Path) -> Path:
    """A module of every name that fer or what it starts may import, and the files that tools look for by themselves.

    Returns the file that the modules write when they are run.
    """
    mark = folder.absolute() / "mark"
    code = f"import sys\nopen({str(mark)!r}, 'a').write(__file__ + ' ' + ' '.join(sys.argv) + chr(10))\n"
    names = {*sys.stdlib_module_names, *metadata.packages_distributions(), *OURS}
    for name in names - {"__main__"}:
        (folder / f"{Path(name).name}.py").write_text(code)
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)
    (folder / "matplotlibrc").write_bytes(b"backend: module://backend\ntext.usetex: True\n# \xff\n")
    for name in (".python-version", "uv.toml", "pyproject.toml", "setup.cfg", "pyvenv.cfg"):
        (folder / name).write_text("[broken\n")
    return mark


def command(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, words)], cwd=folder, capture_output=True, text=True)


@pytest.mark.full
@pytest.mark.parametrize("engine", ["caffe", "pytorch"])
def test_no_command_runs_what_lies_in_a_run_or_the_current_folder(tmp_path: Path, data: Path, engine: str) -> None:
    training.write_net(tmp_path)
    marks = [lay_traps(tmp_path)]
    first = ("train", "--net", "net.prototxt", "--solver", "solver.prototxt", "--data", data, "--engine", engine)
    done = command(tmp_path, FER, *first, "--name", "sent", "--seed", "1", "--max-iter", "20")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "sent"
    marks.append(lay_traps(run))
    only = {
        "caffe": [("doctor",), ("prepare", data.parent / "sample.csv", "--out", "again")],
        "pytorch": [("average", run), ("export", run), ("predict", data / "val" / "00001.jpg", "--model", run)],
    }
    resume = ("train", "--resume", run, "--engine", engine, "--max-iter", "40")
    for words in (resume, ("report", run, "--val-only"), *only[engine]):
        done = command(tmp_path, FER, *words)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        assert "matplotlib" not in done.stderr.lower(), done.stderr
        assert [mark.read_text() for mark in marks if mark.exists()] == [], words


def test_python_dash_m_leaves_the_current_folder_out(tmp_path: Path) -> None:
    mark = lay_traps(tmp_path)
    for path in tmp_path.iterdir():  # what Python itself imports for -m is beyond us, and fer/ would be another program
        if path.stem not in ("argparse", "json", "textwrap", "tqdm", "traceback"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    done = command(tmp_path, sys.executable, "-m", "fer", "--version")
    assert done.stdout.startswith("fer ") and not mark.exists(), done.stderr


def test_asking_pythons_for_caffe_runs_nothing_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    mark = lay_traps(tmp_path / "here")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "caffe.py").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(interpreter, "_known", {})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))  # where a pycaffe is most often found
    monkeypatch.setenv("FER_CAFFE_PYTHON", os.path.relpath(sys.executable))
    assert find_caffe().python.is_absolute()
    assert not starts(sys.executable, PYTHON, dict(os.environ))  # it is not 3.9
    assert not mark.exists(), mark.read_text()


def test_a_commit_is_asked_for_without_what_the_repository_would_have_git_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None
    mark = tmp_path / "mark"
    (tmp_path / "trap").write_text(f"#!/bin/sh\necho ran $0 >> {mark}\ncat\n")
    (tmp_path / "trap").chmod(0o755)
    (tmp_path / "file").write_text("one")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    for words in (("init", "--quiet"), ("add", "file"), ("commit", "--quiet", "-m", "first")):
        subprocess.run([*git, *words], check=True)
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    assert git_commit() == head
    (tmp_path / "file").write_text("two")
    subprocess.run(["git", "config", "core.fsmonitor", str(tmp_path / "trap")], check=True)
    hook = tmp_path / ".git" / "hooks" / "post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.symlink_to(tmp_path / "trap")
    assert git_commit() == f"{head}-dirty"
    subprocess.run(["git", "config", "filter.trap.clean", str(tmp_path / "trap")], check=True)
    (tmp_path / ".gitattributes").write_text("* filter=trap\n")
    assert git_commit() == head  # whether the file differs cannot be known without the filter
    assert not mark.exists(), mark.read_text()
