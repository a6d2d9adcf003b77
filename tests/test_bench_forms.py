"""scripts/bench_forms.py: a row a form of one net, a row a net of several."""

import re
import sys
from pathlib import Path

import bench_forms
import made_model
import pytest

from fer.engines.registry import ENGINES
from fer.errors import FerError
from fer.export import proof
from fer.export.forms import FORMS
from fer.export.onnx_form import Onnx
from fer.inference.classifier import Classifier, trained_model


def test_several_nets_are_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(ENGINES, "pytorch", made_model.here)
    monkeypatch.setattr(proof, "AGREEMENT", proof.AGREEMENT)
    run = made_model.make_run(tmp_path)

    class Refused(Onnx):
        def write(self, job: object) -> None:
            raise FerError("layer 'odd':\nno such thing")

    monkeypatch.setitem(FORMS, "refused", Refused(name="refused"))
    data, paths = Path(run.record.data.dir), [str(run.dir), str(made_model.make_run(tmp_path / "other").dir)]
    monkeypatch.setattr(sys, "argv", ["bench_forms", str(data), *paths, "--val-only", "--format", "onnx,refused"])
    images, labels = bench_forms.read(data, "val")
    own = f"{(Classifier(trained_model(run))(images).argmax(1) == labels).mean():.2%}"
    bench_forms.main()
    said = capsys.readouterr().out
    assert said.count("| `refused` | layer 'odd': no such thing |") == 2
    assert re.search(rf"^\| `onnx` \| 0.\d\d \| {own} \|  \| 100.0% ", said, re.MULTILINE)
    *_, head, _, first, second = said.splitlines()
    assert head == "| net | itself | `onnx` | `refused` |"
    assert first == second == f"| small-s1 | {own} | +0.00 (100.0%) | refused |"
