"""The text of a log inside a document: a notebook, other JSON, a page saved from a browser.

lines = document_lines(text_stream)         # None where the file is plain text
"""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import IO, Any

from fer.errors import FerError

_JSON = re.compile(r'\s*(?:\{\s*"|\[\s*["\[{])')
_PAGE = re.compile(r"\s*<(?:!doctype|!--|\?xml|html|head|body|pre|code|div|span|table|textarea|p|font)\b", re.I)
_HEAD = 4096
_PIECE = 1 << 20
_BREAKS = {
    *(
        "address",
        "article",
        "blockquote",
        "br",
        "dd",
        "div",
        "dl",
        "dt",
        "form",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "section",
    ),
    *(
        "section",
        "summary",
        "table",
        "tbody",
        "textarea",
        "thead",
        "title",
        "tr",
        "ul",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ),
}
_UNSEEN = {"script", "style", "template", "noscript"}


def document_lines(text: IO[str]) -> Iterator[str] | None:
    """The lines of the log that a document holds, each with its end; None where the file is none, and at its start.

    What has a JSON object in each line, as docker's logs, is no document. Raises FerError for JSON that is damaged.
    """
    head = text.read(_HEAD)
    text.seek(0)
    if _PAGE.match(head):
        return _page_lines(text)
    if not _JSON.match(head):
        return None
    first, second = text.readline(), text.readline()
    text.seek(0)
    if second.lstrip().startswith("{") and _is_json(first):
        return None
    try:
        document = json.load(text)
    except RecursionError:
        raise FerError(f"{text.name}: JSON that is nested too deep to hold a log") from None
    except ValueError as error:
        text.seek(0)
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":  # JSON is its first lines alone
            return None
        raise FerError(
            f"{text.name}: JSON that is damaged or cut off ({error})\n"
            "take the log as Caffe wrote it: `caffe train ... 2> train.log`"
        ) from None
    outputs = _notebook_outputs(document)
    if outputs is not None and not any(outputs):
        raise FerError(f"{text.name} is a notebook whose cells show no output: run it, save it, and give it again")
    return _lines(_strings(document) if outputs is None else iter(outputs))


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(texts: Iterator[str]) -> Iterator[str]:
    for text in texts:
        yield from (f"{line}\n" for line in re.split(r"\r*\n|\r", text))


def _strings(value: Any) -> Iterator[str]:
    """The strings in what JSON has, in their order, without the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _notebook_outputs(document: Any) -> list[str] | None:
    """The text that the cells of a Jupyter notebook gave, of each cell in one; None where it is no notebook."""
    if not isinstance(document, dict) or "nbformat" not in document:
        return None
    sheets = [document, *_dicts(document.get("worksheets"))]  # before format 4
    cells = [cell for sheet in sheets for cell in _dicts(sheet.get("cells"))]
    return ["".join(map(_output_text, _dicts(cell.get("outputs")))) for cell in cells]


def _output_text(output: dict[str, Any]) -> str:
    data = output.get("data")
    text = output.get("text") or (data.get("text/plain") if isinstance(data, dict) else None)
    return "".join(_strings(text))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _page_lines(text: IO[str]) -> Iterator[str]:
    page = _Page()
    while piece := text.read(_PIECE):
        page.feed(piece)
        yield from page.take()
    page.close()
    yield from page.take()
    yield page.line + "\n"


class _Page(HTMLParser):
    """Text as a browser shows it, as far as lines go: what is not seen is left out, a row of a table is a line."""

    def __init__(self) -> None:
        super().__init__()
        self.line = ""
        self._whole: list[str] = []  # lines
        self._unseen = 0

    def take(self) -> list[str]:
        """The lines that are whole by now."""
        whole, self._whole = self._whole, []
        return whole

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        self._breaks(tag)

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(self._unseen - (tag in _UNSEEN), 0)
        self._breaks(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            first, *others = data.replace("\xa0", " ").split("\n")
            self.line += first
            for other in others:
                self._end(other)

    def _breaks(self, tag: str) -> None:
        if tag in _BREAKS:
            self._end("")
        elif tag in ("td", "th") and self.line:
            self.line += " "

    def _end(self, following: str) -> None:
        if self.line:
            self._whole.append(self.line + "\n")
        self.line = following
