"""The server: the seven calls over HTTP, with keys, organisations, jobs, metrics and result pages.

A thin face over the same service that the embedded mode uses. ``app`` puts it together, ``run`` starts it.
"""
