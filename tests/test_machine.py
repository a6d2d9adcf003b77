"""What fer.machine and fer doctor say of a processor, on written copies of /proc/cpuinfo."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from fer import __version__, doctor, machine
from fer.doctor import Finding, findings_text
from fer.errors import FerError

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
    if text is not None:
        machine.CPUINFO.write_text(text)
    assert machine.instruction_sets() == sets
    assert machine.native_bf16() is native
    model, bf16 = doctor._processor()
    assert all(name in model.found for name in sets)
    assert bf16.ok is native
    assert native or ("emulated" in bf16.found and "--precision fp32" in bf16.cure and not bf16.needed)


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


def test_the_doctor_says_how_to_get_caffe_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(say: object = None) -> None:
        raise FerError("real Caffe could not be set up: no network\nthe cure")

    monkeypatch.setattr("fer.engines.find_caffe", no_network)
    monkeypatch.delenv("FER_CAFFE_PYTHON", raising=False)
    caffe, offline = doctor._caffe()
    assert not caffe.ok and "no network" in caffe.cure and not offline.needed
    wheel = "kendryte-caffe==1.0.0.20210829 'numpy<2' 'protobuf<3.21'"
    assert f"--dest wheels {wheel}" in offline.cure and f"--find-links wheels {wheel}" in offline.cure
    assert "export FER_CAFFE_PYTHON=" in offline.cure
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


def test_the_distribution_has_a_name_of_its_own() -> None:
    assert metadata.version(doctor.DISTRIBUTION) == __version__
