"""What fer.machine and fer doctor say of a processor, on written copies of /proc/cpuinfo."""

from pathlib import Path

import pytest

from fer import doctor, machine

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
