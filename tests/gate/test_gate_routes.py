"""The packaged routes of the gate, run as their places run them: hook, action, template."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")  # comes with pre-commit
ROOT = Path(__file__).parents[2]
SMALL = "--arch nf-resnet --stages 1,1 --width 0.125 --image-size 32 --seeds 1 --name net"
# Tells what it was called with, one argument a line, in place of the real one.
STUB = '#!/bin/sh\nprintf "%s\\n" "$0" "$@" >> "$RECORD"\n'


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def environment(*first: Path, **variables: str) -> dict[str, str]:
    path = os.pathsep.join([*map(str, first), str(Path(sys.executable).parent), os.environ["PATH"]])
    left = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))}
    return {**left, "PATH": path, "PYTHONPATH": str(ROOT), **variables}


def bash(script: str, folder: Path, *first: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    # As GitHub starts bash, and GitLab's runner its own.
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    where = environment(*first, **variables)
    return subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    folder = tmp_path / "stubs"
    folder.mkdir()
    for name in ("sppkit", "python"):
        (folder / name).write_text(STUB, encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def recorded(stubs: Path) -> list[str]:
    record = stubs / "record"
    return record.read_text(encoding="utf-8").splitlines()[1:] if record.exists() else []


# --- the action


def act(folder: Path, *first: Path, arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    step = load("action.yml")["runs"]["steps"][-1]
    variables = {"SPPKIT_ARGUMENTS": arguments, "SPPKIT_AGAINST": "", "SPPKIT_SARIF": "", **more}
    assert step["env"].keys() <= variables.keys()
    assert "${{" not in step["run"]  # what an input holds is never a command
    return bash(step["run"], folder, *first, **variables)


def test_the_action_fails_and_annotates(tmp_path: Path) -> None:
    done = act(tmp_path, arguments=f"{SMALL} --gain 1", SPPKIT_SARIF="out.sarif", GITHUB_STEP_SUMMARY="summary.md")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("::error title=sppkit%3A net blocks.0::")
    assert (tmp_path / "summary.md").exists()
    assert json.loads((tmp_path / "out.sarif").read_text())["runs"][0]["results"]


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", []),
        ("--arch nf-resnet --depth 50", ["--arch", "nf-resnet", "--depth", "50"]),
        ("--arch nf-resnet\n--depth 50\n", ["--arch", "nf-resnet", "--depth", "50"]),
        ("\n\n  --arch\tnf-resnet\r\n\n --weights   none \r\n", ["--arch", "nf-resnet", "--weights", "none"]),
        ("--kw a=*\n; touch evil\n$(touch evil) `touch evil`", [
            "--kw", "a=*", ";", "touch", "evil", "$(touch", "evil)", "`touch", "evil`",
        ]),
    ],
)  # fmt: skip
def test_the_action_takes_every_line_and_runs_none(given: str, taken: list[str], tmp_path: Path, stubs: Path) -> None:
    done = act(tmp_path, stubs, arguments=given, RECORD=str(stubs / "record"))
    assert done.returncode == 0, done.stderr
    assert recorded(stubs) == ["check", *taken, "--report", "github"]
    assert not (tmp_path / "evil").exists()


def test_the_action_hands_on_each_further_input_as_one_argument(tmp_path: Path, stubs: Path) -> None:
    more = {"SPPKIT_AGAINST": "$(touch evil) main", "SPPKIT_SARIF": "a b.sarif", "RECORD": str(stubs / "record")}
    assert act(tmp_path, stubs, arguments="", **more).returncode == 0
    told = ["--against", "git:$(touch evil) main", "--report", "sarif=a b.sarif"]
    assert recorded(stubs) == ["check", *told, "--report", "github"]
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("given", ['--name "my net"', "--name 'x'", "--depth 50 \\\n--width 2"])
def test_the_action_refuses_what_it_would_misread(given: str, tmp_path: Path, stubs: Path) -> None:
    done = act(tmp_path, stubs, arguments=given, RECORD=str(stubs / "record"))
    assert done.returncode == 2
    assert done.stdout == (
        "::error title=sppkit::arguments take no quotes or backslashes: write such a value into sppkit.toml.\n"
    )
    assert recorded(stubs) == []


@pytest.mark.parametrize(("given", "taken"), [("", "/the/action"), ("a b.whl", "a b.whl"), ("git+https://x@v1", None)])
def test_the_action_installs_itself_a_wheel_or_a_reference(
    given: str, taken: str | None, tmp_path: Path, stubs: Path
) -> None:
    step = load("action.yml")["runs"]["steps"][0]
    assert "'none'" in step["if"]
    variables = {"SPPKIT_INSTALL": given, "GITHUB_ACTION_PATH": "/the/action", "RECORD": str(stubs / "record")}
    assert bash(step["run"], tmp_path, stubs, **variables).returncode == 0
    assert recorded(stubs) == ["-m", "pip", "install", "--quiet", taken or given]


# --- the GitLab template


def template() -> dict[str, Any]:
    return load("templates/sppkit-check.gitlab-ci.yml")["sppkit-check"]


def test_the_template_writes_its_reports(tmp_path: Path) -> None:
    job = template()
    done = bash("\n".join(job["script"]), tmp_path, SPPKIT_ARGUMENTS=SMALL.replace(" --width", "\n--width"))
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / name).exists() for name in job["artifacts"]["reports"].values())


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_the_template_takes_every_line_and_runs_none(shell: str, tmp_path: Path, stubs: Path) -> None:
    (tmp_path / "blocks.py").touch()
    script = "set -e\n" + "\n".join(template()["script"])
    for given in ("--sites blocks.*\n--kw $(touch evil)\n;", "--name 'x'", ""):
        (stubs / "record").unlink(missing_ok=True)
        where = environment(stubs, SPPKIT_ARGUMENTS=given, RECORD=str(stubs / "record"))
        done = subprocess.run(
            [shell, "-c", script], cwd=tmp_path, env=where, capture_output=True, text=True, check=False
        )
        assert done.returncode == (2 if "'" in given else 0)
        reports = ["--report", "junit=sppkit.xml", "--report", "gitlab=gl-code-quality.json"]
        assert recorded(stubs) == ([] if "'" in given else ["check", *given.split(), *reports])
    assert not (tmp_path / "evil").exists()


def test_the_template_says_what_to_install(tmp_path: Path, stubs: Path) -> None:
    job = template()
    script = "\n".join(job["before_script"])
    assert job["variables"]["SPPKIT_INSTALL"] == ""
    for given, code in (("", 2), ("none", 0), ("git+https://x/y@v1", 0)):
        done = bash(script, tmp_path, stubs, SPPKIT_INSTALL=given, RECORD=str(stubs / "record"))
        assert done.returncode == code
        assert ("error: say what to install" in done.stdout) == (code == 2)
    assert recorded(stubs) == ["-m", "pip", "install", "--quiet", "git+https://x/y@v1"]


def test_the_template_installs_a_git_reference_into_a_clean_environment(tmp_path: Path) -> None:
    pytest.importorskip("virtualenv")  # comes with pre-commit
    clone, clean = tmp_path / "clone", tmp_path / "clean"
    write_stand_in(clone)
    git(clone, "init", "--quiet", "--initial-branch=main")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "one")
    subprocess.run([sys.executable, "-m", "virtualenv", "--quiet", "--no-download", clean], check=True)
    job = template()
    where = {"PATH": f"{clean / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path), "PIP_NO_INDEX": "1"}
    where |= {"SPPKIT_ARGUMENTS": "--a\n--b", "SPPKIT_INSTALL": f"git+file://{clone}@main"}
    script = "set -e\n" + "\n".join([*job["before_script"], *job["script"]])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:3] == ["check", "--a", "--b"]


# The whole of a build system, so that nothing is to be downloaded.
BACKEND = """
import zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, about = "sppkit-9-py3-none-any.whl", "sppkit-9.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("stand_in.py", "import sys\\ndef main(): print(*sys.argv[1:])\\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: sppkit\\nVersion: 9\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/entry_points.txt", "[console_scripts]\\nsppkit = stand_in:main\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""


def write_stand_in(folder: Path) -> None:
    """Write a package of the same name, whose program tells its arguments: the real one takes a minute to install."""
    folder.mkdir()
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    system = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (folder / "pyproject.toml").write_text(system, encoding="utf-8")


# --- the hook, in a repository of its own, pushing to one that is bare


def git(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    where = environment(PRE_COMMIT_HOME=str(folder.parent / "pre-commit"), NO_COLOR="1")
    command = ["git", *identity, *arguments]
    done = subprocess.run(command, cwd=folder, env=where, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("pre-commit", path=environment()["PATH"]) is None:
        pytest.skip("pre-commit is not installed")
    hooks, mine = tmp_path / "hooks", tmp_path / "mine"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    git(hooks, "init", "--quiet")
    git(hooks, "add", ".")
    git(hooks, "commit", "--quiet", "-m", "hooks")
    git(hooks, "tag", "v1")
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "mine")
    git(mine, "remote", "add", "origin", str(tmp_path / "remote.git"))
    hook = {"repo": str(hooks), "rev": "v1", "hooks": [{"id": "sppkit-check"}]}
    (mine / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [hook]}), encoding="utf-8")
    (mine / ".gitignore").write_text("spp/\n__pycache__/\n", encoding="utf-8")
    (mine / "net.py").write_text(NETWORK, encoding="utf-8")
    (mine / "pyproject.toml").write_text(CONFIGURATION, encoding="utf-8")
    subprocess.run(
        ["pre-commit", "install", "-t", "pre-push"], cwd=mine, env=environment(), check=True, capture_output=True
    )
    return mine


NETWORK = "from sppkit import build_model\n\n\ndef build(**options):\n    return build_model('nf-resnet', **options)\n"
CONFIGURATION = """[tool.sppkit]
model = "net.py:build"
shape = [3, 32, 32]
seeds = 1
policy = "nf-resnet"

[tool.sppkit.kw]
stages = [1, 1]
width = 0.125
"""


def commit(repository: Path) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "a change")


def push(repository: Path) -> tuple[bool, str]:
    done = git(repository, "push", "origin", "main", check=False)
    pushed = (
        git(repository, "rev-parse", "main").stdout == git(repository, "rev-parse", "origin/main", check=False).stdout
    )
    assert pushed == (done.returncode == 0)
    return pushed, done.stdout + done.stderr


def test_the_hook_looks_at_every_push(repository: Path) -> None:
    commit(repository)
    pushed, told = push(repository)
    assert pushed, told
    assert "signal propagation" in told
    assert "Passed" in told
    # No file changed: the versions of libraries may have.
    commit(repository)
    pushed, told = push(repository)
    assert (pushed, "Passed" in told, "Skipped" in told) == (True, True, False)
    # The configuration alone.
    with (repository / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write('weights = "none"\n')
    commit(repository)
    pushed, told = push(repository)
    assert not pushed
    for part in ("FAIL", "first    block 1 (blocks.0)", "cause    ", "limit    ", "next     sppkit plot spp/"):
        assert part in told
    # The code alone.
    (repository / "pyproject.toml").write_text(CONFIGURATION, encoding="utf-8")
    (repository / "net.py").write_text(NETWORK.replace("resnet', **", "resnet', weights='none', **"), encoding="utf-8")
    commit(repository)
    assert not push(repository)[0]
