"""BVLC Caffe 1.0 from its sources, for today's compilers, libraries, Python and GPUs: what `fer caffe build` does.

sources.py brings them and edits.py says what is changed in them; needs.py looks first; compilation.py says what is
compiled, and jobs.py does it, several at a time; proof.py holds what was built against the other engines; builds.py
knows those that are there. build.py puts these together.
"""
