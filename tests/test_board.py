"""fer board in a real browser, beside a training. Skipped where there is no Chromium, or no Playwright to drive it."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import made_board
import pytest
from made_board import Training, being_trained

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright (it is in the extra dev)")
pytest.importorskip("uvicorn", reason="no uvicorn (it is in the extra board)")
from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402 -- where it is there

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
pytestmark = [pytest.mark.full, pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
WAIT = 20_000  # ms: the machine may be busy
expect.set_options(timeout=WAIT)
LOOKS = [(1300, "light"), (1300, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_board.make_runs(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def live(runs: Path) -> Iterator[Training]:
    """A training that goes on while the pages are looked at."""
    with being_trained(runs, "live-s1") as training:
        training.test(0, 0.14)
        for iteration in range(0, 200, 20):
            training.display(iteration, 1.9 - iteration / 400)
        yield training


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    with made_board.board(runs) as address:
        yield address.rstrip("/")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=[*QUIET, *CAMERA])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str, live: Training) -> Iterator[Page]:
    """A page, which has nothing to complain of and asks nobody else for anything."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, base_url=address)
    context.set_default_timeout(WAIT)
    context.grant_permissions(["clipboard-read", "clipboard-write", "camera"], origin=address)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    context.close()
    assert not said
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def until(page: Page, what: str) -> None:
    """Wait until an expression is true there. Playwright's own way is an eval, which the board's policy forbids."""
    page.wait_for_load_state("domcontentloaded")  # then the page's scripts have run
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(what):
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


PAGES = {
    "/": "Runs",
    "/runs/lenet-s1": "lenet-s1",
    "/runs/live-s1": "live-s1",
    "/compare?run=lenet-s1&run=lenet-s2&run=live-s1": "Compare",
    "/data": "Data",
    "/data?show=conflicts": "Data",
    "/data/answers?run=lenet-s1": "A run's answers",
    "/try": "Try",
}


@pytest.mark.parametrize("path", PAGES)
def test_every_page_fits_every_screen(page: Page, path: str, runs: Path) -> None:
    if path == "/data?show=conflicts":
        page.goto("/data")
        page.get_by_role("link", name="conflicting").click()
        expect(page.locator("h2")).to_contain_text("conflicting")
    else:
        page.goto(path)
    expect(page.locator("h1")).to_have_text(PAGES[path])
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        until(page, "getComputedStyle(document.body).backgroundColor != 'rgba(0, 0, 0, 0)'")  # its style sheet is there
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert page.evaluate("[...document.images].every(each => each.alt)")
    until(page, "[...document.querySelectorAll('.face img')].every(each => each.naturalWidth || !each.complete)")


def test_runs_move_come_and_go(page: Page, live: Training, runs: Path) -> None:
    page.goto("/")
    expect(page.locator("tr[data-run='live-s1']")).to_contain_text("180 of 1,000")
    live.display(200, 1.4)
    live.test(200, 0.31)
    live.display(220, 1.3)
    moving = page.locator("tr[data-run='live-s1']")
    expect(moving).to_contain_text("220 of 1,000")
    expect(moving).to_contain_text("~31.00%")
    expect(moving).to_contain_text("left")
    expect(moving).to_contain_text("1.3")
    with being_trained(runs, "later-s1"):
        expect(page.locator("tr[data-run='later-s1']")).to_contain_text("training")
    expect(page.locator("tr[data-run='later-s1']")).to_contain_text("broken off")
    shutil.rmtree(runs / "later-s1")
    expect(page.locator("tr[data-run='later-s1']")).to_have_count(0)
    expect(page.get_by_role("link", name=made_board.HOSTILE, exact=True)).to_be_visible()


def test_runs_are_sorted_and_sifted(page: Page) -> None:
    page.goto("/")
    names = page.locator("tbody tr:visible th a")
    page.get_by_role("button", name="best val accuracy").click()
    assert names.first.inner_text() in ("lenet-s1", "lenet-s2")
    page.get_by_role("button", name="run", exact=True).click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("run")
    assert names.all_inner_texts() == sorted(names.all_inner_texts())
    page.get_by_label("Filter the runs").fill("lenet s2 finished")
    expect(names).to_have_count(2)  # the net's and the solver's names count too
    page.get_by_label("Filter the runs").fill("lenet-s2")
    expect(names).to_have_text(["lenet-s2"])


def legend(page: Page, figure: str) -> list[str]:
    """The values under the pointer, that of the iteration first."""
    return page.get_by_role("group", name=figure).locator(".u-value").all_inner_texts()


def hover(page: Page, figure: str, share: float) -> None:
    over = page.get_by_role("group", name=figure).locator(".u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)


def test_a_value_is_read_off_a_live_curve(page: Page, live: Training) -> None:
    page.goto("/runs/live-s1")
    until(page, "charts[0].plot.data[0].length > 5")
    live.test(400, 0.4375)
    live.display(400, 0.875)
    until(page, "charts[0].plot.data[0].at(-1) === 400")
    hover(page, "Loss", 0.999)
    assert legend(page, "Loss") == ["400", "0.8750", "1.500"]
    assert legend(page, "Accuracy") == ["400", "43.75%", "43.75%"]  # the pointers go together
    expect(page.locator("#last-loss")).to_have_text("0.875")
    expect(page.locator("#tail")).to_contain_text("Iteration 400, lr = 0.01")
    page.get_by_role("group", name="Loss").focus()
    page.keyboard.press("ArrowLeft")
    assert legend(page, "Loss")[0] in ("180", "220")  # another test may have shown the latter


def test_a_curve_is_zoomed_and_put_on_a_log_scale(page: Page) -> None:
    page.goto("/runs/lenet-s1")
    until(page, "charts[0].plot.data[0].length > 5")
    hover(page, "Loss", 0.25)
    page.mouse.down()
    hover(page, "Loss", 0.5)
    page.mouse.up()
    until(page, "charts.every(({ plot }) => plot.scales.x.max < 250)")
    page.get_by_role("button", name="whole length").click()
    until(page, "charts.every(({ plot }) => plot.scales.x.max > 350)")
    page.get_by_label("log scale").check()
    assert page.evaluate("charts.map(({ plot }) => plot.scales.y.distr)") == [3, 1, 3]


def test_a_run_shows_its_net_its_report_and_what_to_do_next(page: Page, runs: Path) -> None:
    page.goto("/runs/lenet-s1")
    expect(page.get_by_role("row", name="hidden InnerProduct")).to_contain_text("24")
    report = page.frame_locator("iframe.report")
    expect(report.locator("h1")).to_have_text("LeNet s1")
    until(page, "document.querySelector('iframe.report').clientHeight > 1000")
    report.get_by_role("button", name="recall").first.click()  # its tables sort without a script of its own
    expect(report.locator("th[aria-sort]")).to_have_count(1)


def test_runs_are_compared(page: Page) -> None:
    page.goto("/")
    for name in ("lenet-s1", "lenet-s2"):
        page.get_by_label(f"compare {name}").check()
    page.get_by_role("button", name="Compare those chosen").click()
    expect(page.get_by_text("lenet-s1 against lenet-s2")).to_contain_text("p = ")
    expect(page.get_by_role("cell", name="best on val")).to_have_count(0)
    until(page, "charts[0].plot.data.length === 5 && charts[0].plot.data[0].length > 5")
    page.get_by_label("side by side").check()
    expect(page.locator(".charts figure")).to_have_count(6)
    low, high = page.evaluate(
        "[0, 1].map(i => JSON.stringify([charts[i].plot.scales.y.min, charts[i].plot.scales.y.max]))"
    )
    assert low == high


def test_a_cell_of_the_confusion_matrix_shows_its_faces(page: Page) -> None:
    page.goto("/data/answers?run=lenet-s1")
    cell = page.locator("table.confusion td a").first
    count = int(cell.inner_text())
    cell.click()
    expect(page.locator("#faces")).to_contain_text(f"{count} faces")
    faces = page.locator(".face img")
    expect(faces).to_have_count(count)
    until(page, "[...document.querySelectorAll('.face img')].every(each => each.naturalWidth === 48)")
    shares = [int(found) for found in re.findall(r"(\d+)%", page.locator(".faces").inner_text())]
    assert len(shares) == count and shares == sorted(shares, reverse=True)


def test_the_faces_that_the_audit_counts_are_seen(page: Page) -> None:
    page.goto("/data")
    expect(page.locator(".face")).to_have_count(45)
    page.get_by_label("class").select_option("1")
    expect(page.locator(".face")).to_have_count(7)
    for what, groups, faces in (
        ("groups of equal", 2, 5),
        ("conflicting", 2, 5),
        ("more than one split", 1, 3),
        ("blank", 1, 2),
    ):
        page.get_by_role("link", name=what).click()
        expect(page.locator("h2")).to_contain_text(str(groups))
        expect(page.locator(".group")).to_have_count(groups)
        expect(page.locator(".face")).to_have_count(faces)


def test_a_photo_is_tried_and_explained(page: Page, tmp_path: Path) -> None:
    page.goto("/try")
    page.set_input_files("#photo", made_board.write_photo(tmp_path / "photo.png"))
    expect(page.locator("#said")).to_contain_text("1 face")
    bars = page.locator(".bars progress")
    expect(bars).to_have_count(7)
    assert sum(bars.evaluate_all("all => all.map(each => each.value)")) == pytest.approx(1, abs=1e-3)
    before = page.locator(".found img").get_attribute("src")
    page.get_by_role("button", name="Happy").click()
    expect(page.locator(".found figcaption")).to_contain_text("red: covered, Happy falls")
    assert page.locator(".found img").get_attribute("src") != before


def test_a_file_that_is_no_photo_is_told(browser: Browser, address: str) -> None:
    page = browser.new_page(base_url=address)
    page.goto("/try")
    page.set_input_files("#photo", {"name": "a.png", "mimeType": "image/png", "buffer": b"not a picture"})
    expect(page.locator("#said")).to_contain_text("image")
    expect(page.locator("#found section")).to_have_count(0)
    page.close()


def test_the_webcam_is_looked_through(page: Page) -> None:
    page.goto("/try")
    page.get_by_label("closely cropped").check()
    page.get_by_role("button", name="Webcam").click()
    expect(page.locator(".bars progress")).to_have_count(7)
    expect(page.locator("#picture")).to_be_visible()
    page.get_by_role("button", name="Webcam").click()
    expect(page.get_by_role("button", name="Webcam")).to_have_attribute("aria-pressed", "false")


def test_a_command_is_copied(page: Page, runs: Path) -> None:
    page.goto("/runs/lenet-s2")
    page.locator("[data-copy]").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("fer ")
