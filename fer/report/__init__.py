"""Run directories, or any Caffe log, as a report: metrics.json, CSVs, figures, one self-contained report.html.

result = build_report([Run("runs/alexnet-s3")])       # several runs: the comparison
result = build_ensemble([Run("runs/a"), Run("runs/b")])
print(summary_text(result))
"""

from fer.report.build import build_ensemble, build_report, report_log
from fer.report.text import summary_text

__all__ = ["build_ensemble", "build_report", "report_log", "summary_text"]
