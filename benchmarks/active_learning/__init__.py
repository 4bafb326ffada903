"""Benchmark of selection: what labels are worth that a strategy picks, against random and published strategies.

Run it with ``python -m benchmarks.active_learning``. The parts, from the ground up:

* ``data``: the images and features of a source, and how they are split; ``settings``: what is run on which source;
* ``learner``: the networks and the one recipe that trains them all;
* ``rivals``: random, entropy, margin, k-centre and BADGE, written here from their papers;
* ``product``: our strategies, through tracer, evaluator and data filter in a workspace of their own;
* ``protocol``: the rounds of labelling; ``summary``: areas, paired differences and intervals; ``report``: the tables.
"""
