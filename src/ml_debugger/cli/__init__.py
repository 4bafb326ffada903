"""The command ``mldebugger``."""

from ml_debugger.cli.commands import app, main

__all__ = ["app", "main"]
