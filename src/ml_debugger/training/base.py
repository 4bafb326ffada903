"""What tracers of every task do: run, record, and see that it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_debugger import columns
from ml_debugger.adapters import Adapter
from ml_debugger.connect import Connection
from ml_debugger.recording.fields import parse_fields
from ml_debugger.recording.recorder import Call, Recorder, check_name, open_writer
from ml_debugger.service.contract import RunKey
from ml_debugger.tasks.task import Task
from ml_debugger.types import Field

__all__ = ["Fields", "Tracer", "run_key"]


@dataclass(frozen=True, slots=True)
class Fields:
    """Additional columns, whether what was recorded before is removed, and what data filters share with this tracer."""

    records: tuple[Field, ...]
    truths: tuple[Field, ...]
    recreate: bool
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls,
        task: Task,
        records: Iterable[Mapping[str, Any]] | None,
        truths: Iterable[Mapping[str, Any]] | None,
        recreate: bool,
        **settings: Any,
    ) -> Fields:
        """Read what the user declared.

        Raises:
            InputError: If a field cannot be right.
        """
        return cls(
            parse_fields(records, "additional_fields", task.name),
            parse_fields(truths, "additional_label_fields", task.name),
            recreate,
            {name: value for name, value in settings.items() if value is not None},
        )


class Tracer:
    """Holds a recorder; the classes that people see give it their task and documentation."""

    _recorder: Recorder

    def _open(
        self, task: Task, adapter: Adapter, run: RunKey, connection: Connection, fields: Fields, *, auto_sync: bool
    ) -> None:
        append = connection.service.append
        self._recorder = Recorder(
            task,
            adapter,
            run,
            open_writer(append, run, auto_sync=auto_sync, spool=connection.spool),
            append=append,
            fields=fields.records,
            label_fields=fields.truths,
            settings=fields.settings,
        )
        connection.register(run, self._recorder.writer.flush)
        self._recorder.register(recreate=fields.recreate)

    def _trace(self, call: Call, ground_truth: Any) -> Any:
        recorded = self._recorder.record(call)
        truths = self._recorder.truths(ground_truth, recorded, call.values)
        self._recorder.put(recorded, **{columns.TRUTHS: truths})
        return recorded.raw

    def wait_for_save(self) -> None:
        """Return when every batch traced so far is stored; nothing of it can be lost any more.

        Raises:
            StoreError: If the rows cannot be written; they are kept, call again when the cause is gone.
        """
        self._recorder.flush()

    def describe(self) -> dict[str, Any]:
        """What was found in the model: adapter, feature layer, widths, hashes."""
        return self._recorder.adapter.describe()


def run_key(model_name: str, version_name: str) -> RunKey:
    """Names of a run, checked."""
    return RunKey(check_name("model_name", model_name), check_name("version_name", version_name))
