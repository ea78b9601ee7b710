"""Where the gate runs: the scripts of the GitHub action and the GitLab template, run as those places run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")  # comes with pre-commit
ROOT = Path(__file__).parents[1]
SMALL = "--arch nf-resnet --stages 1,1 --width 0.125 --image-size 32 --name net"


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def bash(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **variables}
    # As GitHub starts bash.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_action_fails_and_annotates(tmp_path: Path) -> None:
    steps = load("action.yml")["runs"]["steps"]
    variables = {"SPPKIT_ARGUMENTS": f"{SMALL} --gain 1", "SPPKIT_AGAINST": "", "SPPKIT_SARIF": "out.sarif"}
    assert steps[-1]["env"].keys() == variables.keys()
    done = bash(steps[-1]["run"], tmp_path, **variables, GITHUB_STEP_SUMMARY="summary.md")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error title=sppkit%3A net blocks.0::")
    assert (tmp_path / "summary.md").exists()
    assert json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]


def test_the_action_reads_no_command_from_its_inputs(tmp_path: Path) -> None:
    script = load("action.yml")["runs"]["steps"][-1]["run"]
    assert "${{" not in script
    done = bash(script, tmp_path, SPPKIT_ARGUMENTS="; touch evil", SPPKIT_AGAINST="$(touch evil)", SPPKIT_SARIF="")
    assert done.returncode == 2
    assert not (tmp_path / "evil").exists()


def test_the_gitlab_template_writes_its_reports(tmp_path: Path) -> None:
    job = load("templates/sppkit-check.gitlab-ci.yml")["sppkit-check"]
    done = bash("\n".join(job["script"]), tmp_path, SPPKIT_ARGUMENTS=SMALL)
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / name).exists() for name in job["artifacts"]["reports"].values())


def test_the_hook_runs_the_program_that_the_package_installs() -> None:
    hook = load(".pre-commit-hooks.yaml")[0]
    assert hook["entry"].split()[:2] == ["sppkit", "check"]
    assert hook["pass_filenames"] is False
