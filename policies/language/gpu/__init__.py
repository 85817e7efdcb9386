"""Measuring a language model on an accelerator: passes, plans of calls, what they take, and what that is of a peak.

Needs torch, transformers, numpy, scipy and numba, and reads no config, so that a machine which has little else can run
it. Import from the modules: ``campaign`` measures a table of pieces within a time, ``cards`` is where CUDA is.
"""
