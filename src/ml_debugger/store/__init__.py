"""Where rows, metadata and result artefacts are kept: Delta tables in a folder or an object store, or memory.

``open_store`` picks the store by URL scheme from ``STORES``. A new store is one ``Tables`` implementation and one entry
there.

The Delta tables are the only truth about rows: counts, epochs and weights of a run are read from them and never kept a
second time, so no crash can make two accounts disagree. The database holds what Delta cannot: a model's name and
architecture, which must be unique over all processes, and the list of results. A model is registered before its first
row and a result is listed after its artefacts are written, so that a crash in between leaves a name without rows or
artefacts that nobody lists, never rows without a name.
"""

from ml_debugger.store.tables import TableKey, Tables
from ml_debugger.store.workspace import STORES, Workspace, check_present, open_store

__all__ = ["STORES", "TableKey", "Tables", "Workspace", "check_present", "open_store"]
