"""Names of organisations, and where the rows and artefacts of each are kept."""

from __future__ import annotations

import re
from typing import Final

from ml_debugger.errors import InputError
from ml_debugger.store.naming import quote_name

__all__ = ["DEFAULT_ORGANISATION", "organisation_named", "organisation_place", "shown_organisation"]

# Of the embedded mode, and of every workspace that was made before there were organisations.
DEFAULT_ORGANISATION: Final = ""
_DEFAULT_SHOWN: Final = "default"
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def organisation_named(name: str) -> str:
    """The organisation of a name that a person wrote; ``"default"`` is the one of the embedded mode.

    Raises:
        InputError: If it is no name for an organisation.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "organisation: expected 1 to 63 lower-case letters, digits and inner hyphens, such as 'vision-team', "
            f"got {name!r}"
        )
    return DEFAULT_ORGANISATION if name == _DEFAULT_SHOWN else name


def shown_organisation(organisation: str) -> str:
    """An organisation as people read it."""
    return organisation or _DEFAULT_SHOWN


def organisation_place(root: str, organisation: str) -> str:
    """Folder or URL of an organisation's rows and artefacts.

    The default one has ``root`` itself, where ``tables/`` and ``results/`` lie; the others are beside those two.
    """
    return f"{root}/organisations/{quote_name(organisation)}" if organisation else root
