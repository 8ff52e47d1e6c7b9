"""What matters of the workflows, told from their text; actionlint knows more, and needs a network to be installed."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import chain
from typing import Any

import pytest
import yaml

from tests.support import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
#: What whoever opens a pull request can choose, and a shell would run if it stood in a script.
UNTRUSTED = re.compile(r"\$\{\{[^}]*(github\.event|github\.head_ref|github\.ref|inputs\.|steps\.|env\.)")
OPTION = re.compile(r"--([a-z][\w-]+)")


def workflow(path: Any) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf8"))


def steps(path: Any) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def scripts(path: Any) -> list[str]:
    return [step["run"] for step in steps(path) if "run" in step]


def sessions() -> set[str]:
    """Names of the sessions in noxfile.py, from its text: nox is no part of the tests' environment."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf8")
    found = re.findall(r'@nox\.session(?:\(name="([\w-]+)"\))?\ndef (\w+)\(', text)
    return {name or function for name, function in found}


def test_there_are_three():
    assert [path.name for path in WORKFLOWS] == ["check.yml", "tests.yml", "weekly.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflow:
    def test_it_may_only_read(self, path):
        assert workflow(path)["permissions"] == {"contents": "read"}
        assert not any("permissions" in job for job in workflow(path)["jobs"].values())
        checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
        assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)

    def test_it_ends(self, path):
        longest = 350 if path.name == "weekly.yml" else 120  # hosted runners end any job after 360
        assert all(0 < job["timeout-minutes"] <= longest for job in workflow(path)["jobs"].values())
        assert "group" in workflow(path)["concurrency"]

    def test_nothing_untrusted_is_put_into_a_script(self, path):
        assert scripts(path) and not [script for script in scripts(path) if UNTRUSTED.search(script)]

    def test_pull_requests_run_without_secrets(self, path):
        triggers = workflow(path)[True]  # YAML 1.1 reads the key `on` as a truth value
        assert ("pull_request" in triggers) == (path.name != "weekly.yml") and "pull_request_target" not in triggers
        assert "secrets." not in path.read_text(encoding="utf8")

    def test_actions_are_pinned_to_a_version(self, path):
        used = [step["uses"] for step in steps(path) if "uses" in step]
        assert used and all(re.fullmatch(r"actions/[\w/-]+@(v\d+|[0-9a-f]{40})", name) for name in used)

    def test_the_sessions_exist(self, path):
        named = re.findall(r"nox -s ([\w-]+)", "\n".join(scripts(path)))
        listed = [
            job.get("strategy", {}).get("matrix", {}).get("session", []) for job in workflow(path)["jobs"].values()
        ]
        assert {*named, *chain(*listed)} <= sessions()

    def test_the_files_exist(self, path):
        named = re.findall(r"(?m)^\s*(\.?[\w/]*\.ci/\w+)", "\n".join(scripts(path)))
        assert all(os.access(ROOT / name, os.X_OK) for name in named)

    def test_the_scripts_parse(self, path):
        for script in scripts(path):
            assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""


def test_the_sessions_are_found():
    assert {"main", "tests", "bench", "lint", "check"} <= sessions()


def test_untrusted_input_is_seen():
    assert UNTRUSTED.search('echo "${{ github.event.pull_request.title }}"')
    assert UNTRUSTED.search("git checkout ${{ github.head_ref }}")
    assert not UNTRUSTED.search('echo "$BASE"')


def test_every_exit_code_but_0_fails_the_comparison(tmp_path):
    """The script of the workflow itself, with a python that ends as it is told."""
    script = next(one for one in scripts(ROOT / ".github" / "workflows" / "check.yml") if "--against" in one)
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" > arguments\nexit "$CODE"\n', encoding="utf8")
    python.chmod(0o755)
    said = {}
    for code in (0, 1, 2, 3, 130):
        env = {**os.environ, "PYTHON": str(python), "BASE": "0123abc; touch no", "CODE": str(code)}
        ended = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], cwd=tmp_path, env=env, text=True, capture_output=True
        )
        assert ended.returncode == code
        said[code] = ended.stdout
        assert ("::error" in ended.stdout) == (code != 0)
    assert len(set(said.values())) == len(said)
    assert "--against 0123abc; touch no --records" in (tmp_path / "arguments").read_text(encoding="utf8")
    assert not (tmp_path / "no").exists()


def test_the_options_exist():
    """The command knows every option that the workflows and the page on CI give it."""
    command = (ROOT / "bench" / "check.py").read_text(encoding="utf8")
    texts = [path.read_text(encoding="utf8") for path in (*WORKFLOWS, ROOT / "docs" / "ci.md")]
    used = {
        one for text in texts for line in text.splitlines() if "bench.check " in line for one in OPTION.findall(line)
    }
    parameters = set(re.findall(r"(?m)^    (\w+): ", command))
    assert used and {one.replace("-", "_") for one in used} <= parameters
