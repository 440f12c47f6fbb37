"""The parts of ``benchmarks/gpu.py``: machine (device, ceilings, clock), weights, runs, sections, report."""
