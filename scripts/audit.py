"""Look up every pinned version in constraints.txt in a list of known vulnerabilities (osv.dev, by pip-audit).

Exit status: 0 nothing known against them; 1 something is, it is listed; 3 not audited, with ``--require``. Without
``--require`` a machine that cannot reach the list passes, and the last line says that nothing was audited.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OSV = "https://api.osv.dev/v1/query"
NOT_AUDITED = 3

# Advisories that do not concern us, each with the reason. Empty is best.
IGNORED: dict[str, str] = {}


def main() -> int:
    """Audit, say what was found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--require", action="store_true", help="fail where the list cannot be reached")
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt", help="pinned versions to audit")
    parser.add_argument("--osv-url", default=OSV, help="where the list is asked")
    arguments = parser.parse_args()
    found, problem = ask(arguments.constraints, arguments.osv_url)
    lines, vulnerable = describe(found)
    skipped = [f"{row['name']}: {row['skip_reason']}" for row in found if "skip_reason" in row]
    if skipped and not problem:
        problem = f"{len(skipped)} of {len(found)} packages could not be looked up, such as {skipped[0]}"
    for line in lines:
        print(line)
    if problem:
        print(f"NOT AUDITED: {problem}")
        print("This says nothing about the dependencies. Run `make audit` on a machine that reaches osv.dev.")
    if vulnerable:
        print(f"VULNERABLE: {vulnerable} of {len(found)} pinned packages; raise their pins in constraints.txt")
        return 1
    if problem:
        return NOT_AUDITED if arguments.require else 0
    print(f"Audited: nothing known against {len(found)} pinned packages")
    return 0


def ask(constraints: Path, osv_url: str) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit found by package, and why it could not ask ('' where it could)."""
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"),
        *("--vulnerability-service", "osv", "--osv-url", osv_url, "--timeout", "15"),
        *("--format", "json", "--progress-spinner", "off"),
        *(part for name in IGNORED for part in ("--ignore-vuln", name)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or [f"pip-audit ended with status {done.returncode}"])[-1]
    return found, ""


def describe(found: list[dict[str, Any]]) -> tuple[list[str], int]:
    """A line for each advisory, and the number of packages that have any."""
    lines = [f"{name} does not concern us: {reason}" for name, reason in IGNORED.items()]
    vulnerable = [row for row in found if row.get("vulns")]
    for row in vulnerable:
        for advisory in row["vulns"]:
            versions = ", ".join(advisory["fix_versions"]) or "none yet"
            lines.append(f"{row['name']} {row['version']}: {advisory['id']}, fixed in: {versions}")
    return lines, len(vulnerable)


if __name__ == "__main__":
    sys.exit(main())
