"""MLdebugger: which unlabelled sample does a trained model get wrong?

The public classes live in four modules, so that importing one never loads the others:

- ``ml_debugger.training``: tracers, which record a model next to its labels;
- ``ml_debugger.evaluator``: ``Evaluator`` and ``Result``, which learn where the model errs;
- ``ml_debugger.data_filter``: data filters, which score and select unlabelled data.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
