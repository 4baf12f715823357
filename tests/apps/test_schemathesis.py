"""The running API against its own description, by tools that were not made for it."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.apps.process import BIN, ROOT, running

HOST = {"name": "compute-1", "vtep": "192.168.33.12"}


@pytest.mark.timeout(900)  # some 20 s where nothing else runs
@pytest.mark.parametrize("token", [None, "s3cret"], ids=["open", "token"])
def test_schemathesis_finds_nothing(tmp_path, token):
    """All its checks, in all its phases, with the same data each time."""
    with running(tmp_path, token=token) as controller:
        assert controller("PUT", "/v1/hosts/00006e12f4fd6949", HOST).status == 201
        headers = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
        argv = [
            *(str(BIN / "schemathesis"), "--config-file", str(ROOT / "schemathesis.toml"), "run"),
            *("--checks", "all", "--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", "10", "--generation-deterministic"),
            *("--no-color", "--suppress-health-check", "all"),
            *headers,
            f"{controller.url}/openapi.json",
        ]
        env = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.apps.schemathesis_hooks"}
        env["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=840
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Stateful" in done.stdout
        assert "Traceback" not in controller.log
