"""Which GPU a run's record names: the one that trained, whatever CUDA_VISIBLE_DEVICES makes of its number."""

import os
from pathlib import Path

import pytest

from fer.machine import hardware

ALIKE = ["0, GPU-1111aaaa, NVIDIA H100", "1, GPU-2222bbbb, NVIDIA H100"]
MIXED = ["0, GPU-1111aaaa, Quadro T400", "1, GPU-2222bbbb, NVIDIA H100"]


@pytest.mark.parametrize(
    ("there", "gpus", "environment", "name"),
    [
        (ALIKE, (1,), {}, "NVIDIA H100"),
        (ALIKE, (0, 1), {}, "NVIDIA H100; NVIDIA H100"),
        (ALIKE, (2,), {}, None),
        (MIXED, (0,), {"CUDA_VISIBLE_DEVICES": "GPU-2222"}, "NVIDIA H100"),
        (MIXED, (1,), {"CUDA_VISIBLE_DEVICES": "GPU-2222bbbb,GPU-1111aaaa"}, "Quadro T400"),
        (MIXED, (0,), {"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "NVIDIA H100"),
        (MIXED, (0,), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "Quadro T400"),
        (MIXED, (0,), {}, None),  # CUDA's first is the fastest, nvidia-smi's the one in the first place
        (MIXED, (0,), {"CUDA_VISIBLE_DEVICES": "1"}, None),
        (ALIKE, (0,), {"CUDA_VISIBLE_DEVICES": ""}, None),
        ([], (0,), {}, None),
    ],
)
def test_the_gpu_is_named_by_what_cuda_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: list[str],
    gpus: tuple[int, ...],
    environment: dict[str, str],
    name: str | None,
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in there))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for variable in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert hardware(gpus)["gpu"] == name
