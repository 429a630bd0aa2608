"""The benchmarks, one module each, behind one command: ``python -m tools.bench NAME``, run from the checkout's root.

What they leave lies in ``tools/results``; `tools.bench.docs` makes ``docs/benchmarks.md`` of it.
"""
