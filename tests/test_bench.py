"""The benchmarks of the engines: they run at small size, count work rightly, compare equal nets. Nothing is timed."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from fer.formats.prototxt import read_net
from fer.formats.upgrade import upgrade_net
from fer.nets.shapes import infer_shapes
from fer.nets.states import State, filter_net
from fer.system.hardware import native_bf16

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / "scripts"


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_plain

    return bench_plain


def run(*command: object) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("name", ["lenet", "alexnet", "alexnet227"])
def test_the_plain_net_is_that_of_the_prototxt(plain: ModuleType, name: str) -> None:
    net = upgrade_net(read_net(ROOT / "prototxt" / name / "train_val.prototxt"))
    crop = plain.CROPS[name]
    shapes = infer_shapes(filter_net(net, State("TRAIN", ("batch100",))), (1, 256, 256) if crop > 48 else (1, 48, 48))
    ours = [shape for blobs in shapes.params.values() for shape in blobs]
    with torch.device("meta"):
        module = plain.make_net(name)
        assert module(torch.empty(2, 1, crop, crop)).shape == (2, 7)
    assert [tuple(parameter.shape) for parameter in module.parameters()] == ours
    layer = next(layer for layer in net.layer if layer.type == "Data")
    assert plain.SCALES[name] == layer.transform_param.scale and crop == layer.transform_param.crop_size


@pytest.mark.full
def test_bench_gpu_runs_small(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    nets = ["lenet:s2", "alexnet:s1"]
    precisions = ["fp32", "bf16"] if native_bf16() else ["fp32"]  # emulated, it takes a minute
    text = run(SCRIPTS / "bench_gpu.py", "--small", "--nets", *nets, "--precisions", *precisions, "--json", out)
    result = json.loads(out.read_text())
    assert [(row["net"], row["precision"]) for row in result["rows"]] == [
        (net, precision) for net in ("lenet", "alexnet") for precision in precisions
    ]
    for row in result["rows"]:
        assert row["batch"] == 8 and all(row[key] > 0 for key in ("engine_seconds", "nchw_seconds", "bytes_floor"))
        assert row["plain_seconds"] == min(row["plain"].values()) == row["plain"][row["plain_best"]]
        assert set(row["plain"]) == {"eager, NCHW", "eager, channels_last"}
    # The published 8.8 million multiply-adds an image, six operations each.
    lenet = result["rows"][0]
    assert lenet["operations_floor"] * result["rates"]["fp32"] == pytest.approx(8 * 6 * 8_803_500, rel=0.01)
    for found in result["agreement"].values():  # here both are the CPU
        nudged = [found.pop(name) for name in list(found) if name.startswith("nudged_")]
        assert len(nudged) == 3 and all(0 <= each < 1e-2 for each in nudged) and nudged[0] > 0
        assert found.pop("iterations") == 3 and not found.pop("captured") and set(found.values()) == {0}
    assert "lenet s2" in text and "first update" in text


BARE = """
import runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("h5py", "uv", "pandas", "sklearn", "scipy", "matplotlib", "tqdm"):
            raise ImportError(f"no {name} in a bare checkout")
sys.meta_path.insert(0, Missing())
sys.argv = [sys.argv[1], "--help"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.full
def test_bench_gpu_needs_few_packages() -> None:
    assert "--small" in run("-c", BARE, SCRIPTS / "bench_gpu.py")


@pytest.mark.full
def test_bench_engines_compares_all(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "out.json"
    command = [SCRIPTS / "bench_engines.py", "--data", data, "--nets", "lenet:s2", "--rounds", 1]
    text = run(*command, "--seconds", 0.01, "--warm-up", 1, "--json", out)
    (net,) = json.loads(out.read_text())["nets"]
    assert (net["net"], net["batch"]) == ("lenet", 64) and net["multiply_adds"] == pytest.approx(8.8e6, rel=0.01)
    kinds = {name.split()[0].rstrip(",") for name in net["images_per_second"]}
    assert kinds == {"caffe", "fer", "keras", "plain"} and "x caffe" in text
