"""scripts/speedrun.sh from a CSV to an exported net, with two iterations for its 27,000; and started again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer.formats.prototxt import read_solver, write_text
from fer.nets.zoo import find_solver
from fer.system.hardware import native_bf16

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.mark.full
def test_from_the_csv_to_the_export_and_once_more(tmp_path: Path) -> None:
    sample: list[str | Path] = [sys.executable, SCRIPTS / "make_sample.py", "sample.csv", "--train", "4", "--test", "2"]
    subprocess.run(sample, cwd=tmp_path, check=True, capture_output=True)
    solver = read_solver(find_solver("vgg8", "s1"))
    solver.max_iter, solver.snapshot, solver.test_interval, solver.display = 2, 1, 2, 1
    solver.test_initialization = False
    solver.test_iter[:] = [1]
    write_text(tmp_path / "solver_short.prototxt", solver)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SOLVER": "solver_short.prototxt",
        "LAST": "2",
    }

    def speedrun() -> subprocess.CompletedProcess[str]:
        argv: list[str | Path] = [SCRIPTS / "speedrun.sh", "sample.csv"]
        done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    speedrun()
    run = tmp_path / "runs" / "speedrun-vgg8"
    info = json.loads((run / "run.json").read_text())
    assert (info["state"], info["iteration"], info["precision"], info["seed"]) == (
        "finished",
        2,
        "bf16" if native_bf16() else "fp32",
        1,
    )
    assert [entry["averaged"] for entry in info["averages"].values()] == [[1, 2]]
    splits = json.loads((run / "report" / "metrics.json").read_text())["splits"]
    assert all(split["ten_crop"] for split in splits.values())
    assert (run / "export" / "model.json").is_file()
    log = (run / "train.log").read_bytes()
    speedrun()
    assert (run / "train.log").read_bytes() == log and [path.name for path in run.parent.iterdir()] == ["speedrun-vgg8"]
