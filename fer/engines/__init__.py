"""Engines: processes that speak Caffe. One module starts each; nothing of `fer` imports one."""
