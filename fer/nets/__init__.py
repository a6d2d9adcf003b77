"""Nets and solvers: found, checked, filtered, their shapes, their deploy nets, their learning rates."""
