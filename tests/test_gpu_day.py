"""scripts/gpu_day.py goes to its end on the CPU, with no package that the lent machine has not."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "gpu_day.py"
STEPS = [
    "machine", "messages", "nets", "parity", "random", "resume", "profile", "bench", "caffe", "alexnet", "rank",
    "signals", "trainings",
]  # fmt: skip

BARE = """
import sys
for name in ("h5py", "uv", "pandas", "sklearn", "scipy", "matplotlib", "onnx"):
    sys.modules[name] = None  # as if it were not installed
"""


def run(folder: Path, *words: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
    (folder / "bare").mkdir(exist_ok=True)
    (folder / "bare" / "sitecustomize.py").write_text(BARE)
    environment = {**os.environ, "PYTHONPATH": str(folder / "bare"), "OMP_NUM_THREADS": "1"}
    out = folder / "out"
    command = [sys.executable, str(SCRIPT), "--cpu", "--out", str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    return done.returncode, done.stdout + done.stderr, {p.name: json.loads(p.read_text()) for p in out.glob("*.json")}


def carried(folder: Path) -> Path:
    """As scripts/pack_caffe.py makes it, but that its caffe is the PyTorch engine: it has the same flags and log."""
    executable = folder / "caffe"
    executable.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m fer.engines.pytorch "$@"\n')
    executable.chmod(0o755)
    with tarfile.open(folder / "caffe.tar.xz", "w:xz") as archive:
        archive.add(executable, "caffe/libexec/caffe")
    return folder / "caffe.tar.xz"


@pytest.mark.full
def test_what_is_packed_has_its_libraries_and_not_the_machine_s(tmp_path: Path) -> None:
    """Of any program that is linked: this Python."""
    (tmp_path / "libexec").mkdir()
    shutil.copy(Path(sys.executable).resolve(), tmp_path / "libexec" / "caffe")
    archive = tmp_path / "caffe.tar.xz"
    subprocess.run([sys.executable, SCRIPT.with_name("pack_caffe.py"), tmp_path, archive], check=True)
    with tarfile.open(archive) as packed:
        names = packed.getnames()
        packed.extractall(tmp_path / "there", filter="data")
    assert "caffe/libexec/caffe" in names and not any(name.endswith(("libc.so.6", "libm.so.6")) for name in names)
    nothing = subprocess.run([sys.executable, SCRIPT.with_name("pack_caffe.py"), tmp_path / "no", archive], stderr=-1)
    assert nothing.returncode == 1 and b"is no build by fer caffe build" in nothing.stderr
    started = tmp_path / "there" / "caffe" / "libexec" / "caffe"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "there" / "caffe" / "lib")}
    assert subprocess.run([started, "--version"], env=environment, stdout=-1).stdout.startswith(b"Python 3.")


@pytest.mark.full
def test_the_day_goes_to_its_end_on_the_cpu(tmp_path: Path) -> None:
    code, said, found = run(tmp_path, "--caffe", str(carried(tmp_path)))
    assert code == 0, said
    assert sorted(found) == [f"{number:02}-{step}.json" for number, step in enumerate(STEPS, 1)]
    for entry in found.values():
        assert entry["ok"] and not entry["faults"] and entry["result"], entry
    results = {entry["step"]: entry["result"] for entry in found.values()}
    assert results["messages"]["too large"]["code"] == 1 and "GB of memory" in results["messages"]["too large"]["says"]
    assert len(results["nets"]) == 6
    assert all(row["update"] == 0 for row in results["parity"].values())  # the CPU against itself
    lenet = results["caffe"]["lenet s2"]
    assert lenet["caffe"]["losses"] == lenet["engine"]["losses"] and len(lenet["caffe"]["later"]) == 3
    assert all(row["images/s"] > 0 for row in lenet.values())
    assert len(results["profile"]["fp32"]["dearest"]) == 15
    assert results["rank"]["off"] == 0 and results["signals"]["code"] == 143
    assert list((tmp_path / "out" / "runs").iterdir())


@pytest.mark.full
def test_a_step_that_fails_or_takes_too_long_is_told_and_the_next_is_taken(tmp_path: Path) -> None:
    """A folder that holds no data is a fault; a fraction of a minute is over before the second step."""
    code, said, found = run(tmp_path, "--data", str(tmp_path), "--steps", "rank", "machine")
    assert code == 1 and found["01-machine.json"]["ok"]
    assert not found["11-rank.json"]["ok"] and "Training.png" in found["11-rank.json"]["faults"][0]
    code, said, found = run(tmp_path, "--minutes", "0", "--steps", "machine")
    assert code == 1 and "left out" in said
