"""Benchmark of error estimation: the product's estimator against the published scores, on real traces.

Run it with ``python -m benchmarks.error_detection``. The parts, from the ground up:

* ``traces``: what a pair is (a model's traces on train, val, test and shifted rows) and where pairs come from;
* ``makers``: further pairs, whose forward passes go through our own tracer;
* ``baselines``: one function per published score, each with its paper; ``scores`` fits, tunes and calibrates them;
* ``metrics`` and ``bootstrap``: figures of merit and their paired intervals;
* ``product``: the estimator under test, through the product's own code;
* ``protocol``, ``zones``, ``controls``: what is measured; ``report``: the tables.
"""
