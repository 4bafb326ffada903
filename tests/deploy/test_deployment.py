"""The Dockerfile, the compose file and the systemd unit say what is true: their commands run, against real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from ml_debugger.service.http import HttpService
from ml_debugger.service.transport import Target
from ml_debugger.settings import SETTINGS
from tests.deploy import files
from tests.helpers.ports import free_port
from tests.helpers.postgres import PostgresServer
from tests.helpers.rows import append, ids_of, make_tables, scan

MLDEBUGGER = [sys.executable, "-c", "from ml_debugger.cli import main; main()"]
SECRETS = {name: "a-secret" if value == "change-me" else value for name, value in files.example_env().items()}


@contextmanager
def started(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    """Runs a command line of ``mldebugger`` on a free port of loopback; yields the endpoint and what it printed."""
    assert Path(command[0]).name == "mldebugger"
    port, output = str(free_port()), folder / "output"
    line = [*MLDEBUGGER, *command[1:]]
    for option, value in (("--host", "127.0.0.1"), ("--port", port)):
        line[line.index(option) + 1] = value
    with output.open("wb") as out, (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, stdout=out, stderr=log, env={**os.environ, **environment}, cwd=folder)
    try:
        deadline = time.monotonic() + 90
        while "Listening on" not in output.read_text():
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", output.read_text()
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def use(endpoint: str, output: str) -> None:
    """Rows go in and come out with the key that the first start prints."""
    key = re.search(r"mldbg_\S+", output)
    assert key is not None, output
    service = HttpService.open(Target(endpoint, key[0]))
    append(service, make_tables(["a", "b"]))
    assert ids_of(scan(service)) == ["a", "b"]
    service.close()


def test_the_image_is_built_from_what_is_there() -> None:
    project = tomllib.loads((files.ROOT / "pyproject.toml").read_text())["project"]
    ignored = (files.ROOT / ".dockerignore").read_text().split()
    for _, arguments in [found for found in files.dockerfile() if found[0] == "COPY"]:
        if "--from=" not in arguments:
            for source in arguments.split()[:-1]:
                assert (files.ROOT / source).exists()
                assert f"!{source.removeprefix('./')}" in ignored, "the build would not see it"
    (extra,) = re.findall(r"\.whl\)\[(\w+)\]", (files.ROOT / "Dockerfile").read_text())
    assert extra in project["optional-dependencies"]
    assert "psycopg" in " ".join(project["optional-dependencies"][extra])
    versions = re.findall(r"^FROM python:3\.(\d+)-slim", (files.ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(versions)) == 1
    assert f"Programming Language :: Python :: 3.{versions[0]}" in project["classifiers"]


def test_the_image_runs_as_nobody_special() -> None:
    names = [name for name, _ in files.dockerfile()]
    assert files.last("USER") not in ("root", "0")
    assert names.index("USER") < names.index("VOLUME")
    assert files.last("VOLUME") in files.last("ENV") == "MLD_HOME=/data"


def test_the_image_s_command_runs_and_is_healthy(tmp_path: Path) -> None:
    command = files.exec_form(files.last("ENTRYPOINT")) + files.exec_form(files.last("CMD"))
    assert command[command.index("--port") + 1] == files.last("EXPOSE")
    with started(command, {"MLD_HOME": str(tmp_path / "data")}, tmp_path) as (endpoint, output):
        use(endpoint, output)
        _, *check = files.exec_form(files.last("HEALTHCHECK"))
        port = endpoint.rpartition(":")[2]
        check = [part.replace(f":{files.last('EXPOSE')}/", f":{port}/") for part in check]
        assert subprocess.run([sys.executable, *check], check=False).returncode == 0
    assert subprocess.run([sys.executable, *check], check=False, capture_output=True).returncode != 0, "it is stopped"


def test_compose_needs_its_secrets() -> None:
    for name in SECRETS:
        if name != "S3_BUCKET":
            with pytest.raises(KeyError, match="set it in"):
                files.compose({**SECRETS, name: ""})


def test_compose_publishes_the_server_alone_and_on_loopback() -> None:
    services = files.compose(SECRETS)["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"server"}
    assert services["server"]["ports"] == ["127.0.0.1:8000:8000"]
    for name, service in services.items():
        if name != "server":
            assert re.search(r":\d+(\.\d+)*$", service["image"]), "a version, not whatever is newest"
            assert services["server"]["depends_on"][name] == {"condition": "service_healthy"}
            assert "healthcheck" in service
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in files.compose(SECRETS)["volumes"]


def test_compose_s_server_runs_with_a_real_database_and_object_store(
    tmp_path: Path, postgres: PostgresServer, s3_environment: dict[str, str]
) -> None:
    """The command and the environment of the file, with only the hosts' names put to loopback."""
    services = files.compose(SECRETS)["services"]
    account = services["postgres"]["environment"]
    user, database = account["POSTGRES_USER"], account["POSTGRES_DB"]
    postgres.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{account['POSTGRES_PASSWORD']}'")
    postgres.execute(f"CREATE DATABASE {database} OWNER {user}")
    bucket = services["s3"]["environment"]["S3_BUCKET"]
    endpoint = s3_environment["AWS_ENDPOINT_URL"]
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT"), timeout=10).close()

    environment = dict(services["server"]["environment"])
    url = make_url(environment["MLD_DATABASE_URL"])
    assert (url.host, url.port) == ("postgres", 5432)
    environment["MLD_DATABASE_URL"] = url.set(host="127.0.0.1", port=postgres.port).render_as_string(
        hide_password=False
    )
    assert environment["AWS_ENDPOINT_URL"] == "http://s3:8333"
    environment["AWS_ENDPOINT_URL"] = endpoint
    assert {name for name in environment if name.startswith("MLD_")} <= set(SETTINGS)
    command = [*files.exec_form(files.last("ENTRYPOINT")), *services["server"]["command"]]
    try:
        with started(command, environment, tmp_path) as (address, output):
            use(address, output)
        assert not list(tmp_path.glob("workspace*")), "nothing is kept beside the database and the object store"
    finally:
        postgres.execute(f"DROP DATABASE {database} WITH (FORCE)")
        postgres.execute(f"DROP ROLE {user}")


def test_compose_s_check_of_the_database_is_right(postgres: PostgresServer) -> None:
    command, *arguments = files.compose(SECRETS)["services"]["postgres"]["healthcheck"]["test"][1:]
    assert command == "pg_isready"
    line = [str(postgres.program(command)), *arguments, "--host", "127.0.0.1", "--port", str(postgres.port)]
    assert subprocess.run(line, check=False, capture_output=True).returncode == 0
    line[-1] = str(free_port())
    assert subprocess.run(line, check=False, capture_output=True).returncode != 0


def test_the_unit_s_command_runs_with_one_folder_to_write(tmp_path: Path) -> None:
    settings = dict(files.unit()["Service"])
    environment = dict(part.split("=", 1) for part in settings["Environment"].split())
    assert environment["MLD_HOME"] == f"/var/lib/{settings['StateDirectory']}"
    assert settings["DynamicUser"] == settings["NoNewPrivileges"] == "yes"
    home = tmp_path / "state"
    with started(files.unit_command(), {**environment, "MLD_HOME": str(home)}, tmp_path) as (endpoint, output):
        use(endpoint, output)
    assert {path.name for path in tmp_path.iterdir()} == {"state", "output", "log"}


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = (files.ROOT / "deploy" / "mldebugger.service").read_text()
    assert {"Unit", "Service", "Install"} == set(files.unit())
    assert files.unit_command()[0].startswith("/")
    if shutil.which("systemd-analyze") is None:
        return  # the rest can only be asked of systemd
    program = tmp_path / "mldebugger"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "mldebugger.service"
    copy.write_text(unit.replace(files.unit_command()[0], str(program)))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
