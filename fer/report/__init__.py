"""Run directories, or any Caffe log, as a report: metrics.json, CSVs, figures, one self-contained report.html."""
