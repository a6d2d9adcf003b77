"""report.html in a real browser: on paper, and sorted by a click. Skipped where there is no Chromium."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_report import report_of
from made_run import make_run

from fer.report.results import RunResult

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.full, pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """A report with every figure, and its page."""
    run = make_run(tmp_path_factory.mktemp("page"), ten_crop=True)
    return report_of(run), run.report_dir / "report.html"


def browse(page: Path, *options: str) -> str:
    assert BROWSER is not None
    profile = f"--user-data-dir={page.parent.parent / 'browser'}"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", profile, *options, page.as_uri()]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_a_run_prints_on_few_pages(made: tuple[RunResult, Path], tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    browse(made[1], f"--print-to-pdf={pdf}")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) <= 5


def rows(dom: str) -> list[tuple[str, str]]:
    """The classes of val and their recall, as the table shows them."""
    table = dom.split("Class by class</h2>")[1].split("<tbody>")[1].split("</tbody>")[0]
    found = []
    for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>([^<]*)", row)
        found.append((cells[0], cells[3]))
    return found


@pytest.mark.parametrize("clicks", [1, 2])
def test_a_table_sorts_by_the_heading_that_is_clicked(made: tuple[RunResult, Path], clicks: int) -> None:
    result, page = made
    click = "document.querySelectorAll('table.data')[1].querySelectorAll('button')[3].click();" * clicks
    clicked = page.with_name(f"clicked_{clicks}.html")
    clicked.write_text(page.read_text().replace("</body>", f"<script>{click}</script></body>"))
    classes = sorted(result.splits["val"].classes, key=lambda c: c.recall or 0, reverse=clicks == 1)
    shown = rows(browse(clicked, "--dump-dom"))
    assert [recall for _, recall in shown] == [f"{100 * (c.recall or 0):.1f}%" for c in classes]
    assert {name for name, _ in shown} == {c.name for c in classes}
