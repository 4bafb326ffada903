"""Where people have what examples are drawn on: a folder, a mapping or a function; found by input id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ml_debugger.errors import InputError, NotFoundError

__all__ = ["Source", "SourceKind", "found_by_id"]

Source: TypeAlias = str | Path | Mapping[Any, Any] | Callable[[Any], Any]
"""A folder, or a mapping or function from input id to what is there, which may be a file."""


@dataclass(frozen=True, slots=True)
class SourceKind:
    """What is looked for, and in which words.

    Attributes:
        argument: Name of the argument, which is the plural of what is looked for.
        item: What there is for one id.
        endings: How files of it end, longer endings before shorter ones that they end in.
    """

    argument: str
    item: str
    endings: tuple[str, ...]

    def stem(self, path: Path) -> str | None:
        """The name of a file without its ending; None for a file of another kind."""
        ending = next((one for one in self.endings if path.name.lower().endswith(one)), None)
        return None if ending is None else path.name[: -len(ending)]


def found_by_id(source: Source, kind: SourceKind) -> Callable[[int | str], Any]:
    """A function from an input id to what there is for it.

    Raises:
        InputError: If ``source`` is no folder, mapping or function, and from the function where an id names several
            files. The function raises NotFoundError where there is nothing.
    """
    find = _finder(source, kind)

    def read(input_id: int | str) -> Any:
        found = find(input_id)
        if found is None:
            raise NotFoundError(f"{kind.argument}: there is none for input_id {input_id!r}")
        return found

    return read


def _finder(source: Source, kind: SourceKind) -> Callable[[int | str], Any]:
    if isinstance(source, (str, Path)):
        return _in_folder(Path(source), kind)
    if isinstance(source, Mapping):
        return lambda input_id: source[input_id] if input_id in source else source.get(str(input_id))
    if callable(source):
        return source
    raise InputError(
        f"{kind.argument}: expected a folder, or a mapping or function from input id to {kind.item}, got "
        f"{type(source).__name__}"
    )


def _in_folder(folder: Path, kind: SourceKind) -> Callable[[int | str], Path]:
    """Files by name, by name without ending, or by number where names are numbers (``000000000139.jpg`` is 139)."""
    if not folder.is_dir():
        raise InputError(f"{kind.argument}: expected a folder of {kind.argument}, got {str(folder)!r}, which is none")
    by_name: dict[str, set[Path]] = {}
    count = 0
    for path in sorted(folder.rglob("*")):
        stem = kind.stem(path)
        if stem is None:
            continue
        count += 1
        names = {path.name, stem, path.relative_to(folder).as_posix()}
        if stem.isdecimal():
            names.add(str(int(stem)))
        for name in names:
            by_name.setdefault(name, set()).add(path)

    def find(input_id: int | str) -> Path:
        found = sorted(by_name.get(str(input_id), ()))
        if not found:
            raise NotFoundError(
                f"{kind.argument}: no file in {folder} is named after input_id {input_id!r} (looked for "
                f"{str(input_id)!r} with and without an ending, among {count} {kind.argument}); pass a mapping or a "
                f"function from id to {kind.item}"
            )
        if len(found) > 1:
            raise InputError(
                f"{kind.argument}: input_id {input_id!r} may be {found[0]} or {found[1]}; pass a mapping from id to "
                f"{kind.item}"
            )
        return found[0]

    return find
