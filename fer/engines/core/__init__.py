"""What every engine of ours shares, free of any framework: Caffe's solver, verbs, files, signals, seeds, orders, lines.

A framework brings what `framework.py` names: nets (their layers), the step, the update rules.
"""
