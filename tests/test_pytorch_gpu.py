"""What a GPU brings with it, as far as it can be tried without one: its errors in words, its memory, its indices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from solver_cases import write_database, write_solver

from fer.engines.core import tool
from fer.engines.process import last_words
from fer.engines.pytorch import device
from fer.engines.pytorch.backend import PyTorch
from fer.engines.pytorch.data import room
from fer.engines.pytorch.gpu_faults import gpu_fault
from fer.engines.pytorch.layers import labels
from fer.engines.pytorch.net import Net
from fer.engines.pytorch.registry import Context, Seeds
from fer.errors import FerError
from fer.schema import caffe_pb2

TAIL = """
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""

# The first line as torch writes it, what the user is told besides, the exit code.
FAULTS = [
    ("CUDA error: no kernel image is available for execution on the device", "no code for this GPU", 1),
    ("CUDA error: out of memory", "try a smaller batch_size", 1),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "try a smaller batch_size", 1),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "try a smaller batch_size", 1),
    ("CUDA error: CUDA driver version is insufficient for CUDA runtime version", "driver is older", 1),
    ("The NVIDIA driver on your system is too old (found version 11040).", "driver is older", 1),
    ("Found no NVIDIA driver on your system.", "nvidia-smi lists what there is", 1),
    ("CUDA error: invalid device ordinal", "CUDA_VISIBLE_DEVICES may hide", 1),
    ("CUDA error: all CUDA-capable devices are busy or unavailable", "another process has the GPU", 1),
    ("CUDA error: system not yet initialized", "start nvidia-fabricmanager", 1),
    ("CUDA error: uncorrectable ECC error encountered", "in a bad state", 1),
    ("CUDA error: unknown error", "in a bad state", 1),
    ("NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error, NCCL version 2.28", "NCCL_DEBUG=INFO", 1),
    ("CUDA error: an illegal memory access was encountered", "a fault of fer", 70),
    ("CUDA error: device-side assert triggered", "a fault of fer", 70),
    ("CUDA error: operation not permitted when stream is capturing", "FER_TORCH_GRAPH=0", 70),
    ("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!", "a fault", 70),
]


@pytest.mark.parametrize(("first", "cure", "code"), FAULTS)
def test_a_cuda_error_is_told_with_what_helps(
    first: str, cure: str, code: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def raises(*_: object) -> int:
        raise RuntimeError(first + TAIL)

    monkeypatch.setitem(tool.VERBS, "gpu", raises)
    assert tool.main(PyTorch(), ["gpu"]) == code
    said = capfd.readouterr().err
    words = last_words(said.splitlines(), "PyTorch")
    assert words.startswith(f"PyTorch says: {first}; ") and cure in words and "TORCH_USE_CUDA_DSA" not in words
    assert ("Traceback" in said) == (code == 70)


def test_other_errors_are_not_taken_for_a_gpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")
    assert gpu_fault(error) is None

    def raises(*_: object) -> int:
        raise error

    monkeypatch.setitem(tool.VERBS, "gpu", raises)
    with pytest.raises(RuntimeError, match="mat1"):
        tool.main(PyTorch(), ["gpu"])


def test_want_of_memory_on_any_device_is_the_user_s_to_mend() -> None:
    fault = gpu_fault(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"))
    assert fault is not None and fault.exit_code == 1
    assert str(fault).startswith("CUDA out of memory. Tried to allocate 2.00 GiB.\n") and "batch_size" in str(fault)


@pytest.mark.parametrize(
    ("cuda", "there", "error", "words"),
    [
        (None, 0, None, "is a build for the CPU alone: install one with CUDA"),
        ("13.0", 0, "The NVIDIA driver on your system is too old (found version 11040).\nMore", "found version 11040"),
        ("13.0", 0, "Found no NVIDIA driver on your system.", "finds none: Found no NVIDIA driver"),
        ("13.0", 2, None, "this machine has 2 that PyTorch"),
    ],
)
@pytest.mark.parametrize("asked", ["2", "all"])
def test_why_there_is_no_such_gpu(
    cuda: str | None, there: int, error: str | None, words: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        if error:
            raise RuntimeError(error)

    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.cuda, "init", init)
    if asked == "all" and there:
        assert device.gpus_of(asked) == [0, 1]
        return
    with pytest.raises(FerError, match="no GPU") as caught:
        device.gpus_of(asked)
    assert words in str(caught.value) and "More" not in str(caught.value)


def test_every_verb_lets_cudnn_measure_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
    device.set_up(torch.device("cpu"), "fp32")
    assert not torch.backends.cudnn.benchmark
    device.set_up(torch.device("cuda", 0), "tf32")
    assert torch.backends.cudnn.benchmark and torch.backends.cudnn.allow_tf32
    device.set_up(torch.device("cpu"), "fp32")


def test_the_memory_that_counts_is_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free = room.free_bytes(torch.device("cpu"))
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (3 * 10**9, 80 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 10**9)
    room.check_room([(10**9,)], 4, gpu)
    with pytest.raises(FerError, match=r"needs 4\.4 GB of memory, and of the GPU's 4\.0 GB are free"):
        room.check_room([(11 * 10**8,)], 4, gpu)


# ---- indices, which a GPU does not look at


def test_a_label_out_of_range_is_an_error_when_the_data_are_loaded(tmp_path: Path) -> None:
    """Whatever the device, and though the third row is in no batch of the first iterations."""
    path = write_solver(tmp_path, "run")
    for name in ("run_net.prototxt",):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace("num_output: 7", "num_output: 6"))
    command = [sys.executable, "-m", "fer.engines.pytorch", "train", "--solver", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "Iteration" not in done.stderr
    assert "layer 'loss' (SoftmaxWithLoss): row " in done.stderr
    assert "of layer 'data' has the label 6, which is outside of 0..5; so have " in done.stderr


NETS = {
    "Embed": 'embed_param { input_dim: 4 num_output: 2 } top: "top"',
    "BatchReindex": 'bottom: "index" top: "top"',
    "SoftmaxWithLoss": 'bottom: "index" top: "top"',
    "HingeLoss": 'bottom: "index" top: "top"',
    "Accuracy": 'bottom: "index" top: "top"',
}


@pytest.mark.parametrize("kind", NETS)
def test_on_an_accelerator_the_first_passes_look(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And later ones, which may not wait, show a wrong index as nan instead of taking another's row."""
    monkeypatch.setattr(labels, "_free_to_look", lambda _device: False)
    bottom = 'bottom: "index"' if kind == "Embed" else 'bottom: "x"'
    text = f"""
    layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 4 }} }} }}
    layer {{ name: "index" type: "Input" top: "index" input_param {{ shape {{ dim: 4 }} }} }}
    layer {{ name: "it" type: "{kind}" {bottom} {NETS[kind]} }}
    """
    net = Net(text_format.Parse(text, caffe_pb2.NetParameter()), Context("TRAIN", seeds=Seeds(1)))
    x, right, wrong = torch.eye(4), torch.tensor([0.0, 1, 2, 3]), torch.tensor([0.0, 1, 4, 3])
    for _ in range(2):
        net.forward(x=x, index=right)
    with pytest.raises(FerError, match=r"(index|label) 4 is outside of 0\.\.3"):
        net.forward(x=x, index=wrong)
    net.forward(x=x, index=right)
    assert net.blobs["top"].isfinite().all()
    net.forward(x=x, index=wrong)
    top = net.blobs["top"]
    assert top.isnan().any() and (top.dim() == 0 or not top[0].isnan().any())


def test_split_or_not_a_label_is_held_against_all_that_take_it(tmp_path: Path) -> None:
    write_database(tmp_path / "lmdb", count=9)
    text = f"""
    layer {{ name: "data" type: "Data" top: "data" top: "label"
      data_param {{ source: "{tmp_path / "lmdb"}" backend: LMDB batch_size: 2 }} }}
    layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 9 }} }}
    layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }}
    layer {{ name: "rows" type: "Embed" bottom: "label" top: "rows" embed_param {{ input_dim: ROWS num_output: 2 }} }}
    """

    def build(rows: int) -> Net:
        return Net(text_format.Parse(text.replace("ROWS", str(rows)), caffe_pb2.NetParameter()), Context("TRAIN"))

    assert np.prod(build(7).shapes["rows"]) == 4
    with pytest.raises(FerError, match=r"layer 'rows' \(Embed\): row \d+ \(from 0\) of layer 'data' has the label"):
        build(3)
