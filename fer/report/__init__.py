"""Run directories, or any Caffe log, as a report: metrics.json, CSVs, figures, one self-contained report.html.

result = build_report([Run("runs/alexnet-s3")])       # several runs: the comparison
print(summary_text(result))
"""

from fer.report.build import build_report, report_log
from fer.report.text import summary_text

__all__ = ["build_report", "report_log", "summary_text"]
