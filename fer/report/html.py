"""report.html: one file, nothing from outside, readable on paper and on a phone."""

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fer.report.text import (
    accuracy_rows,
    clean_sentence,
    duration,
    interval,
    mcnemar_sentence,
    measures,
    percent,
    snapshot_name,
    snapshot_text,
    training_rows,
)

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #222;
       font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .8rem; padding-bottom: .25rem; border-bottom: 1px solid #ddd; }
.sub { color: #555; margin: 0 0 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0 0 1rem; font-size: .86rem; }
th, td { padding: .28rem .42rem; border-bottom: 1px solid #e6e6e6; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th { font-weight: 600; color: #444; border-bottom-color: #999; }
tr.all td { font-weight: 600; border-top: 1px solid #999; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
table.facts td:first-child { color: #555; white-space: nowrap; padding-right: 1.2rem; }
.big { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 1rem 0; }
.big b { display: block; font-size: 2.1rem; line-height: 1.15; font-weight: 650; }
.big span { color: #555; font-size: .92rem; }
.notes { background: #fff7e6; border-left: 4px solid #e69f00; padding: .6rem 1rem; margin: 1rem 0; }
.notes p { margin: .25rem 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.2rem; }
figure { margin: 0 0 1.2rem; max-width: 46rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #555; font-size: .88rem; margin-top: .3rem; }
code { font: .88em/1.4 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { font-size: 15px; padding: 1rem .8rem 3rem; } h1 { font-size: 1.4rem; } }
@media print { body { max-width: none; } figure, table { break-inside: avoid; } }
"""

# figure -> its caption; the page shows those that were drawn
CAPTIONS = {
    "overview": "Learning rate, loss and accuracy over the same iterations.",
    "learning_rate": "Learning rate.",
    "training_loss": "Training loss, as the log has it and smoothed.",
    "validation": "Accuracy and loss of the test net during training; dots: each snapshot, every image once.",
    "confusion_val": "Confusion matrix, counts. Rows: true class.",
    "confusion_val_normalised": "Confusion matrix, percent of the true class.",
    "roc_val": "ROC curve of each class against the rest.",
    "classes_val": "Precision, recall and F1 of each class, percent; below the names the number of images.",
    "mistakes_val": "The mistakes the net was surest of: true → predicted, the probability of the wrong class.",
    "confusion_test": "Confusion matrix, counts. Rows: true class.",
    "confusion_test_normalised": "Confusion matrix, percent of the true class.",
    "roc_test": "ROC curve of each class against the rest.",
    "classes_test": "Precision, recall and F1 of each class, percent; below the names the number of images.",
    "class_counts": "Images by class and split.",
    "side_by_side": "The runs side by side; a row shares its scale.",
    "overlay": "The runs over each other.",
}
TRAINING = (("overview",), ("learning_rate", "training_loss"), ("validation",))
AS_PNG = {"mistakes_val"}  # photographs


def page(result: Mapping[str, Any], images: Mapping[str, bytes]) -> str:
    """The page of a result, with the figures ("figures/<name>.svg", ".png") inside it."""
    body = {"run": _run, "comparison": _comparison, "ensemble": _ensemble, "log": _log}[result["kind"]](result, images)
    title = escape(result["name"])
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _run(result: Mapping[str, Any], images: Mapping[str, bytes]) -> list[str]:
    parts = _head(result["name"], f"{result['data']['title']} · {snapshot_text(dict(result))}")
    parts += [_big(result["splits"]), _notes(result["notes"]), "<h2>Accuracy</h2>", _accuracy_table(result)]
    parts += [*_classes(result["splits"]), "<h2>Training</h2>", *_figures(images, TRAINING)]
    parts += _split_figures(result["splits"], images)
    parts += ["<h2>Data</h2>", *_figures(images, (("class_counts",),)), _facts(_data_facts(result["data"]))]
    return [*parts, "<h2>The run</h2>", _facts(_run_facts(result))]


def _ensemble(result: Mapping[str, Any], images: Mapping[str, bytes]) -> list[str]:
    parts = _head(result["name"], f"{result['data']['title']} · the mean of {len(result['members'])} nets' answers")
    parts += [_big(result["splits"]), _notes(result["notes"]), "<h2>Accuracy</h2>", _accuracy_table(result)]
    parts += ["<h2>Members</h2>", _runs_table(result["members"]), *_mcnemar(result["mcnemar"])]
    return [*parts, *_classes(result["splits"]), *_split_figures(result["splits"], images)]


def _classes(splits: Mapping[str, Any]) -> list[str]:
    return ["<h2>Class by class</h2>", '<div class="grid">', *map(_class_table, splits.values()), "</div>"]


def _split_figures(splits: Mapping[str, Any], images: Mapping[str, bytes]) -> list[str]:
    parts = []
    for key, split in splits.items():
        pairs = ((f"confusion_{key}", f"confusion_{key}_normalised"), (f"roc_{key}", f"classes_{key}"))
        parts += [f"<h2>{escape(split['name'])}</h2>", *_figures(images, (*pairs, (f"mistakes_{key}",)))]
    return parts


def _comparison(result: Mapping[str, Any], images: Mapping[str, bytes]) -> list[str]:
    parts = _head(result["name"], f"{len(result['runs'])} runs · {result['data']['title']}")
    parts += [_notes(result["notes"]), "<h2>Accuracy</h2>", _runs_table(result["runs"]), *_mcnemar(result["mcnemar"])]
    parts += [
        "<h2>Class by class: recall</h2>",
        *(_recall_table(result["runs"], split) for split in result["runs"][0]["splits"]),
    ]
    return [*parts, "<h2>Training</h2>", *_figures(images, (("side_by_side",), ("overlay",)))]


def _runs_table(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            *row,
            f"{run['training']['iterations']:,}",
            snapshot_name(run["snapshot"]),
            duration(run["run"].get("seconds")),
        )
        for run in runs
        for row in accuracy_rows(dict(run))
    ]
    splits = [text for split in runs[0]["splits"].values() for text in (split["name"], "95% interval")]
    return _table(("run", *splits, "iterations", "chosen on val", "time"), rows) + _clean(runs[0]["splits"])


def _clean(splits: Mapping[str, Any]) -> str:
    sentence = clean_sentence(dict(splits))
    return f'<p class="sub">{escape(sentence)}</p>' if sentence else ""


def _mcnemar(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    parts = ["<h2>McNemar's exact test on PublicTest (val)</h2>"]
    parts += [f"<p>{escape(mcnemar_sentence(dict(pair)).strip())}</p>" for pair in pairs]
    if len(pairs) > 1:
        parts.append('<p class="sub">The p values are not corrected for the number of pairs.</p>')
    return parts


def _log(result: Mapping[str, Any], images: Mapping[str, bytes]) -> list[str]:
    parts = _head(result["name"], f"from the log {result['log']} alone")
    facts = _facts(training_rows(result["training"]))
    return [*parts, _notes(result["notes"]), facts, "<h2>Training</h2>", *_figures(images, TRAINING)]


def _head(title: str, below: str) -> list[str]:
    return [f"<h1>{escape(title)}</h1>", f'<p class="sub">{escape(below)}</p>']


def _big(splits: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<div><b>{percent(s['accuracy'])}</b><span>{escape(s['name'])}, {s['crop']}<br>"
        f"95% interval {interval(s['accuracy_interval_95'])}"
        + "".join(f"<br>{percent(each['accuracy'])} {each['crop']}" for each in (s["ten_crop"],) if each)
        + "</span></div>"
        for s in splits.values()
    )
    return f'<div class="big">{cells}</div>'


def _notes(notes: Sequence[str]) -> str:
    return f'<div class="notes">{"".join(f"<p>{escape(note)}</p>" for note in notes)}</div>' if notes else ""


def _accuracy_table(result: Mapping[str, Any]) -> str:
    header = ["split", "images", "accuracy (95% interval)", "misclassified (95% interval)"]
    header += ["log loss", "mean recall", "AUC macro", "AUC micro"]
    rows = []
    for split in result["splits"].values():
        for name, each in measures(split["name"], split):
            rows.append(
                (
                    name,
                    f"{each['count']:,}",
                    *(_rate(each, key) for key in ("accuracy", "misclassification")),
                    *(_number(each[key]) for key in ("log_loss", "balanced_accuracy", "auc_macro", "auc_micro")),
                )
            )
    floor = percent(result["commonest_class_accuracy"], 2)
    clean = _clean(result["splits"])
    return f'{_table(header, rows)}{clean}<p class="sub">Always the commonest class would give {floor} on val.</p>'


def _rate(each: Mapping[str, Any], key: str) -> str:
    return f"{percent(each[key], 2)} ({interval(each[f'{key}_interval_95'])})"


def _class_table(split: Mapping[str, Any]) -> str:
    keys = ("precision", "f1", "auc")
    rows = [
        (c["name"], f"{c['correct']:,}", f"{c['support']:,}", percent(c["recall"]), *(_number(c[key]) for key in keys))
        for c in split["classes"]
    ]
    total = ("all", f"{split['correct']:,}", f"{split['count']:,}", percent(split["accuracy"]), "", "", "")
    return _table((split["name"], "correct", "total", "recall", "precision", "F1", "AUC"), rows, total)


def _recall_table(runs: Sequence[Mapping[str, Any]], split: str) -> str:
    names = [c["name"] for c in runs[0]["splits"][split]["classes"]]
    rows = [(run["name"], *(percent(c["recall"]) for c in run["splits"][split]["classes"])) for run in runs]
    return _table((runs[0]["splits"][split]["name"], *names), rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], total: Sequence[str] = ()) -> str:
    lines = [f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows]
    if total:
        lines.append(f'<tr class="all">{"".join(f"<td>{escape(cell)}</td>" for cell in total)}</tr>')
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>" for name, text in facts if text)
    return f'<table class="facts">{rows}</table>'


def _data_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    files = data.get("files") or {}
    folder = f"{data.get('dir')}/"
    hashes = [(f"SHA-256 of {name.removeprefix(folder)}", _flat(digest)) for name, digest in files.items()]
    return [
        ("data", data["title"]),
        ("directory", str(data.get("dir") or "")),
        ("SHA-256 of manifest.json", str(data.get("manifest_sha256") or "")),
        *hashes,
    ]


def _run_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    run = dict(result["run"])
    command = run.pop("command", None)
    if isinstance(command, list):
        command = shlex.join(str(word) for word in command)
    facts = [("command", str(command or "")), ("time", duration(run.pop("seconds", None)))]
    facts += training_rows(result["training"])
    facts += [(key.replace("_", " "), _flat(value)) for key, value in run.items()]
    snapshot = result["snapshot"]
    return [
        *facts,
        ("weights", _flat(snapshot["weights"])),
        ("SHA-256 of the weights", _flat(snapshot["weights_sha256"])),
    ]


def _flat(value: Any) -> str:
    """A fact of run.json as one text."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(each)}" for key, each in value.items() if each is not None)
    return str(value)


def _figures(images: Mapping[str, bytes], rows: Iterable[Sequence[str]]) -> list[str]:
    """Each row's figures beside each other where there is room."""
    drawn = ([name for name in row if f"figures/{name}.svg" in images] for row in rows)
    return [f'<div class="grid">{"".join(_figure(name, images) for name in row)}</div>' for row in drawn if row]


def _figure(name: str, images: Mapping[str, bytes]) -> str:
    kind, media = ("png", "image/png") if name in AS_PNG else ("svg", "image/svg+xml")
    data = base64.b64encode(images[f"figures/{name}.{kind}"]).decode()
    caption = escape(CAPTIONS[name])
    return (
        f'<figure><img alt="{caption}" src="data:{media};base64,{data}">'
        f"<figcaption>{caption} <code>figures/{name}.png</code></figcaption></figure>"
    )
