"""The export of a run, as far as a report of the same snapshot may show it."""

from dataclasses import replace

from fer.errors import FerError
from fer.inference.model_record import MODEL_JSON, read_model_json
from fer.report.results import ExportResult
from fer.runs.record import average_text
from fer.runs.run import Run
from fer.system.shell import command


def read_export(run: Run, weights_sha256: str, *, val_only: bool) -> tuple[ExportResult | None, str | None]:
    """(the forms of the export in the run directory, what is to be said of it); None where there is no such thing.

    An export of other weights than those reported is not shown, nor is one that cannot be read.
    """
    folder = run.export_dir
    if not (folder / MODEL_JSON).is_file():
        return None, None
    again = f"{command('fer', 'export', run.dir)} makes it anew"
    try:
        record = read_model_json(folder)
    except FerError as error:
        return None, f"The export in {folder} is not shown: {str(error).splitlines()[0]}."
    if record.snapshot.sha256 != weights_sha256:
        averaged, iteration = record.snapshot.averaged, record.snapshot.iteration
        of = f"the {average_text(averaged)}" if averaged else f"snapshot {iteration:,}"
        return None, f"The export in {folder} is of {of}, other weights than these, and is not shown: {again}."
    forms = {name: replace(form, test=None) if val_only else form for name, form in record.forms.items()}
    return (ExportResult(dir=str(folder), forms=forms) if forms else None), None
