"""scripts/gpu_day.py goes to its end on the CPU, with no package that the lent machine has not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "gpu_day.py"
STEPS = [
    "machine", "messages", "nets", "parity", "random", "resume", "profile", "bench", "alexnet", "rank", "signals",
    "trainings",
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


@pytest.mark.full
def test_the_day_goes_to_its_end_on_the_cpu(tmp_path: Path) -> None:
    code, said, found = run(tmp_path)
    assert code == 0, said
    assert sorted(found) == [f"{number:02}-{step}.json" for number, step in enumerate(STEPS, 1)]
    for entry in found.values():
        assert entry["ok"] and not entry["faults"] and entry["result"], entry
    results = {entry["step"]: entry["result"] for entry in found.values()}
    assert results["messages"]["too large"]["code"] == 1 and "GB of memory" in results["messages"]["too large"]["says"]
    assert len(results["nets"]) == 6
    assert all(row["update"] == 0 for row in results["parity"].values())  # the CPU against itself
    assert len(results["profile"]["fp32"]["dearest"]) == 15
    assert results["rank"]["off"] == 0 and results["signals"]["code"] == 143
    assert list((tmp_path / "out" / "runs").iterdir())


@pytest.mark.full
def test_a_step_that_fails_or_takes_too_long_is_told_and_the_next_is_taken(tmp_path: Path) -> None:
    """A folder that holds no data is a fault; a fraction of a minute is over before the second step."""
    code, said, found = run(tmp_path, "--data", str(tmp_path), "--steps", "rank", "machine")
    assert code == 1 and found["01-machine.json"]["ok"]
    assert not found["10-rank.json"]["ok"] and "Training.png" in found["10-rank.json"]["faults"][0]
    code, said, found = run(tmp_path, "--minutes", "0", "--steps", "machine")
    assert code == 1 and "left out" in said
