"""The parts of ``benchmarks/cpu_peers.py``.

Parent side (the environment that runs minieng): workload, host, child, scoring, bounds, report, registry, venvs.
Child side (each in its own process, some in environments of their own): protocol and the run_* scripts. Those import
nothing from here but ``protocol``, which needs the standard library only.
"""
