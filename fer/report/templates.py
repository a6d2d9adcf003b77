"""How templates are rendered, those of the report and of the board alike."""

import re
from pathlib import Path

import jinja2
import markupsafe

from fer.report import tables, words
from fer.system.escapes import escaped

HERE = Path(__file__).parent


def environment(*folders: Path) -> jinja2.Environment:
    """What renders the templates beside this file, and those in `folders`: every text from outside is made harmless."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, HERE]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: (
            value if isinstance(value, markupsafe.Markup) or not isinstance(value, str) else escaped(value, keep="\n")
        ),
    )
    made.globals["part"] = tables.PART
    for word in (words.percent, words.interval, words.snapshot_text, words.mcnemar_sentence, words.duration, slug):
        made.filters[word.__name__] = word
    return made


def slug(title: str) -> str:
    """A heading as the name of its place in the page."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")
