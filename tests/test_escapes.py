"""Text from outside on terminals, pages, figures and in tables: shown as itself, and obeyed by nothing."""

import csv
import io
import json
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from made_report import report_of
from made_run import log_events, log_text, make_run

from fer import cli
from fer.commands import terminal
from fer.data.manifest import MANIFEST, read_manifest
from fer.formats.log_lines import Solving, TestOutput
from fer.report import tables
from fer.report.build import report_log
from fer.report.table import Column, Table
from fer.report.tables import runs_of
from fer.report.text import summary_text
from fer.runs.run import Run
from fer.system.escapes import escaped
from fer.system.records import encode_record, write_record

HOSTILE = "$\\frac{$ \x1b]0;owned\x07\x1b[31m <script>alert(1)</script> \u202egnp.exe \x9b2J \u2028 漢字 😀 'a\"b & |c|"
ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def acting(text: str) -> list[str]:
    return [char for char in text if char not in "\n\u200d" and unicodedata.category(char) in ACTING]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("\x1b[31m\x9b\x7f\r\t\n", r"\u001b[31m\u009b\u007f\r\t\n"),
        ("\u202eevil\u2066\u200b\ufeff", r"\u202eevil\u2066\u200b\ufeff"),
        ("\udcff\U000e0041", r"\udcff\udb40\udc41"),
        ("漢字 é 👩\u200d🔬\u3000\xa0ك", "漢字 é 👩\u200d🔬\u3000\xa0ك"),
    ],
)
def test_what_acts_is_shown_as_json_writes_it(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert json.loads(f'"{shown}"') == text


def test_a_terminal_gets_no_command_and_a_name_no_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a\nerror: all is lost\x1b[2J"
    assert cli.main(["predict", str(tmp_path / name)]) == 1
    assert cli.main(["report", str(tmp_path / name), "--debug"]) == 1
    assert cli.main([name]) == 2
    (tmp_path / name).mkdir()
    (tmp_path / name / "\x9b1mb\n.jpg").write_text("no image")
    monkeypatch.chdir(tmp_path / name)
    assert cli.main(["predict", "."]) == 1
    terminal.say("\x1b[31mred\nnext")
    bar = terminal.Bar("train", 1)
    bar.update(1, "val \x1b]0;accuracy\x07 0.5")
    assert bar.note == r"val \u001b]0;accuracy\u0007 0.5"
    out, err = capsys.readouterr()
    assert not acting(out + err)
    assert not [line for line in err.splitlines() if line.startswith("error: all")]
    assert r"\u009b1mb\n.jpg: no image" in err or r"\u009b1mb\n.jpg: " in err


@pytest.mark.full
def test_a_report_shows_hostile_names_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path)
    title, names = f"={HOSTILE}", (f"@{HOSTILE}", "-1+2", "\tTab", "_under", "$x$", "a\nb", "\ud83d")
    manifest = read_manifest(tmp_path / "data")
    write_record(tmp_path / "data" / MANIFEST, replace(manifest, title=title, classes=names))
    name = HOSTILE.replace("/", "")  # those that would lead elsewhere are refused
    record = replace(run.record, name=f"+{name}", net=name, data=replace(run.record.data, title=title))
    write_record(run.dir / "run.json", record)
    result = report_of(Run(run.dir))
    check_folder(run.report_dir)
    table = runs_of(result)
    for text in (summary_text(result), table.markdown(), table.latex(), table.csv(), encode_record(result).decode()):
        terminal.show(text)
    assert not acting("".join(capsys.readouterr()))


@pytest.mark.parametrize("name", [HOSTILE, r"\$x$", "a\n-->"])
def test_the_curves_of_a_log_with_a_hostile_name(tmp_path: Path, name: str) -> None:
    events = [Solving(name.partition("\n")[0]), *log_events(40, 0.5, 200), TestOutput(2, "@SUM(A1)\x1b", 0.5)]
    log = tmp_path / f"{name.replace('/', '_')}.log"
    log.write_text(log_text(events))
    report_log(log, tmp_path / "out")
    check_folder(tmp_path / "out")


def check_folder(report: Path) -> None:
    """Figures well-formed and without a script, a page that holds the names as text, tables without a formula."""
    figures = sorted((report / "figures").glob("*.svg"))
    assert figures
    for figure in figures:
        root = ET.fromstring(figure.read_text())
        assert not [each for each in root.iter() if each.tag.endswith(("script", "foreignObject"))], figure
        assert not [name for each in root.iter() for name in each.attrib if name.lower().startswith("on")], figure
    page = (report / "report.html").read_text()
    ours = (Path(tables.__file__).parent / "report.html.j2").read_text()
    assert page.count("<script") == ours.count("<script") and not acting(page)
    for table in report.glob("*.csv"):
        for row in csv.reader(io.StringIO(table.read_text())):
            for cell in row:
                assert not cell.startswith(tuple("=+-@\t\r")) or is_number(cell), (table.name, cell)
    json.loads((report / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_tables_for_papers_and_spreadsheets() -> None:
    table = Table((Column("run", left=True), Column("=loss")), (("a|b<i>`[x](y)", -0.5), ("-cmd", -1), ("+1", "x\ny")))
    assert table.markdown().splitlines()[2] == r"| a\|b\<i>\`\[x](y) | -0.5 |"
    assert len(table.markdown().splitlines()) == 5
    assert table.csv().splitlines()[:3] == ["run,'=loss", "a|b<i>`[x](y),-0.5", "'-cmd,-1"]
    assert r"x\textbackslash ny" in table.latex()
