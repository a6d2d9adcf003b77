"""What fer.system.hardware and fer doctor say of a processor, on written copies of /proc/cpuinfo."""

import os
import re
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from fer import __version__
from fer.commands import findings as doctor
from fer.commands.findings import Finding, findings_text
from fer.errors import FerError
from fer.system import hardware as machine

X86 = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\nflags\t\t: fpu sse2 {}\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd {}\n"
PROCESSORS = [
    (X86.format("avx2 fma"), ("avx2",), False),
    (X86.format("avx2 avx512f avx512bw"), ("avx2", "avx512f"), False),
    (X86.format("avx512_bf16 avx512f avx2"), ("avx2", "avx512f", "avx512_bf16"), True),
    (X86.format("avx2 avx512f amx_bf16 amx_tile"), ("avx2", "avx512f", "amx_bf16"), True),
    (ARM.format("sve"), (), False),
    (ARM.format("sve i8mm bf16"), ("bf16",), True),
    ("", (), False),
    (None, (), False),
]


@pytest.mark.parametrize(("text", "sets", "native"), PROCESSORS)
def test_a_processors_instruction_sets_are_read_and_the_doctor_says_whether_bf16_is_native(
    text: str | None, sets: tuple[str, ...], native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if text is not None:
        machine.CPUINFO.write_text(text)
    assert machine.instruction_sets() == sets
    assert machine.native_bf16() is native
    model, bf16 = doctor._processor()
    assert all(name in model.found for name in sets)
    assert bf16.ok is native
    assert native or ("emulated" in bf16.found and "--precision fp32" in bf16.cure and not bf16.needed)


def test_bf16_is_not_native_where_onednn_is_held_to_older_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    machine.CPUINFO.write_text(X86.format("avx2 avx512f avx512_bf16"))
    for limit, native in (("AVX2", False), ("avx512_core", False), ("AVX512_CORE_BF16", True), ("DEFAULT", True)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert machine.native_bf16() is native


# ---- the doctor


def test_the_doctor_goes_on_where_something_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> Iterator[Finding]:
        yield Finding("first", True, "seen")
        raise PermissionError(13, "Permission denied", "/no/entry")

    for name in ("_caffe", "_pytorch", "_gpu"):
        monkeypatch.setattr(doctor, name, unreadable)
    findings = doctor.examine()
    assert [f.what for f in findings if "could not be looked at" in f.found] == ["unreadable"] * 3
    assert "Permission denied: '/no/entry'" in findings_text(findings) and findings[-1].what == "disk"


def test_the_doctor_says_how_to_get_caffe_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(say: object = None) -> None:
        raise FerError("real Caffe could not be set up: no network\nthe cure")

    monkeypatch.setattr("fer.engines.interpreter.find_caffe", no_network)
    monkeypatch.delenv("FER_CAFFE_PYTHON", raising=False)
    caffe, offline = doctor._caffe()
    assert not caffe.ok and "no network" in caffe.cure and not offline.needed
    assert "--dest wheels -r caffe.txt" in offline.cure and "--find-links wheels -r caffe.txt" in offline.cure
    assert "export FER_CAFFE_PYTHON=" in offline.cure
    (export,) = (line for line in offline.cure.splitlines() if line.endswith(" > caffe.txt"))
    subprocess.run(export, shell=True, check=True, cwd=tmp_path, stderr=subprocess.DEVNULL)
    written = (tmp_path / "caffe.txt").read_text()
    assert "kendryte-caffe==1.0.0.20210829" in written and written.count("--hash=sha256:") > written.count("==")
    monkeypatch.setenv("FER_CAFFE_PYTHON", "/no/python")  # a wrong name is no matter of a network
    assert len(list(doctor._caffe())) == 1


@pytest.mark.parametrize(("entry", "found"), [("fer.cli:main", 0), (None, 1)], ids=["ours by its old name", "PyPI's"])
def test_the_doctor_finds_the_other_project_called_fer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str | None, found: int
) -> None:
    info = tmp_path / "fer-22.5.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fer\nVersion: 22.5.1\n")
    if entry:
        (info / "entry_points.txt").write_text(f"[console_scripts]\nfer = {entry}\n")
    monkeypatch.syspath_prepend(tmp_path)
    findings = list(doctor._namesake())
    assert len(findings) == found
    assert all("22.5.1" in each.found and "uninstall fer" in each.cure and not each.ok for each in findings)


def test_the_workflows_take_others_actions_by_commit() -> None:
    """A tag can be moved to other code."""
    workflows = Path(__file__).parents[1].joinpath(".github", "workflows").glob("*.yml")
    taken = [line.split("uses:")[1] for path in workflows for line in path.read_text().splitlines() if "uses:" in line]
    assert taken and all(re.fullmatch(r" [\w.-]+/[\w./-]+@[0-9a-f]{40}  # v[0-9.]+", action) for action in taken), taken


def test_the_distribution_has_a_name_of_its_own() -> None:
    assert metadata.version(doctor.DISTRIBUTION) == __version__


# ---- which GPU a record names, whatever CUDA_VISIBLE_DEVICES makes of its number

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
    assert machine.hardware(gpus)["gpu"] == name
