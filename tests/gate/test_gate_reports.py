"""One verdict, seven readers: each format is parsed back by its own rules."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from report_schemas import is_gitlab, is_junit, is_sarif

from sppkit.errors import UsageError
from sppkit.gate.publish import parse_reports, publish, takes_output
from sppkit.gate.reports import FORMATS, render
from sppkit.gate.reports.terminal import render_text
from sppkit.gate.verdict import Finding, Verdict


def finding(block: int, **changes: object) -> Finding:
    values = {
        "statistic": "channel_variance", "name": f"b{block}", "block": block, "limit": 2.0, "expected": 1.0,
        "found": 3.0 + block, "ratio": 3.0 + block, "level": "error", "cause": "follows from the first",
        "kind": "baseline", "seeds": 4, "chance": 1e-9, "reason": "the baseline, within a factor 2",
    }  # fmt: skip
    return Finding(**{**values, **changes})  # type: ignore[arg-type]


FIRST = finding(2, cause="a gain is missing: 50 % of <it>, a|b", found=3.0, ratio=3.0)
FAIL = Verdict(
    findings=(FIRST, *(finding(block) for block in range(3, 15)), finding(15, level="warn")),
    judged=("policy any", "baseline net"), name="net", sites=tuple(f"b{block}" for block in range(16)), seeds=4,
    places={"b2": ("src/net.py", 12)}, notices=("seeds: 1 here",), next_steps=("sppkit plot spp/net.csv",),
)  # fmt: skip
PASS = Verdict(judged=("policy any",), name="good", sites=("b0", "b1"), seeds=4)
MISSING = replace(PASS, name="new", missing="there is no baseline x.json")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("verdicts", [[], [PASS], [FAIL, PASS, MISSING]], ids=len)
def test_every_format_renders_any_verdicts(name: str, verdicts: list[Verdict]) -> None:
    assert isinstance(render(name, verdicts), str)


def test_terminal_says_verdict_first_block_and_the_worst() -> None:
    lines = render_text(FAIL).splitlines()
    assert lines[0] == "FAIL net: 13 of 16 blocks fail, the first is block 2 (b2)"
    assert lines[1] == "  first    block 2 (b2): variance against baseline"
    assert lines[2] == "           expected 1, found 3, limit 2, ×3, 4 seeds, chance 1e-09"
    assert lines[3].startswith("  cause    a gain is missing")
    assert lines[6].split()[:2] == ["block", "14"]
    assert "  and 7 more" in [line.rstrip() for line in lines]
    assert lines[-1] == "  next     sppkit plot spp/net.csv"
    assert render_text(PASS) == "PASS good: 2 blocks, 4 seeds; judged by policy any"
    assert render_text(MISSING).startswith("NO BASELINE new: there is no baseline x.json")


def test_a_verdict_prints_as_the_terminal_shows_it_and_a_notebook_shows_it_as_text() -> None:
    verdict = Verdict(findings=(finding(1, name="<b>"),), name="run")
    assert str(verdict) == render_text(verdict)
    assert verdict._repr_html_().startswith("<pre>FAIL run")
    assert "&lt;b&gt;" in verdict._repr_html_()


def test_json_holds_everything() -> None:
    found = json.loads(render("json", [FAIL, PASS]))
    assert (found["schema"], found["passed"], len(found["runs"])) == (1, False, 2)
    run = found["runs"][0]
    assert (run["verdict"], run["exit_code"], len(run["findings"])) == ("FAIL", 1, 14)
    assert set(run["findings"][0]) >= {
        "statistic",
        "name",
        "block",
        "limit",
        "expected",
        "found",
        "ratio",
        "level",
        "cause",
    }
    assert json.loads(render("json", [replace(PASS, findings=(finding(1, ratio=math.inf),))]))


def test_junit_counts_what_it_holds() -> None:
    root = ET.fromstring(render("junit", [FAIL, PASS, MISSING]))
    assert root.tag == "testsuites"
    assert {suite.get("name"): (suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root} == {
        "net": ("16", "13", "0"), "good": ("2", "0", "0"), "new": ("3", "0", "1"),
    }  # fmt: skip
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("21", "13", "1")
    failure = root.find("testsuite/testcase[@name='b2']/failure")
    assert failure is not None
    assert failure.get("message", "").startswith("block 2 (b2): variance against baseline: expected 1, found 3")
    assert root.find("testsuite/testcase[@name='b15']/system-out") is not None


def test_junit_holds_no_control_characters() -> None:
    evil = replace(FAIL, name="a\x1bb", missing="c\x00d", findings=(finding(1, cause="\x07"),))
    assert ET.fromstring(render("junit", [evil])).find("testsuite").get("name") == "a\\x1bb"  # type: ignore[union-attr]


def test_github_tells_what_follows_from_the_first_once() -> None:
    lines = render("github", [FAIL]).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=src/net.py,line=12,title=sppkit%3A net b2::block 2 (b2): variance")
    assert "50 %25 of <it>" in lines[0]
    place, _, told = lines[1].partition("sppkit%3A net::")
    assert place == "::error file=src/net.py,line=12,title="
    assert told.startswith("13 more findings in 13 blocks follow from block 2 (b2); the largest is block 15 (b15): ")
    assert told.endswith("expected 1, found 18, limit 2, ×18, 4 seeds, chance 1e-09.")
    assert render("github", [PASS]) == ""


def test_github_shows_nine_and_counts_the_rest() -> None:
    many = replace(FAIL, findings=(FIRST, *(finding(block, cause=f"cause {block}") for block in range(3, 16))))
    lines = render("github", [many]).splitlines()
    assert len(lines) == 10
    assert lines[1].startswith("::error title=sppkit%3A net b15::")
    assert lines[9] == "::notice title=sppkit::5 more findings are in the step summary"


def test_a_named_architecture_is_annotated_at_its_configuration() -> None:
    configured = replace(FAIL, places={}, configured=("pyproject.toml", 7), missing="no baseline")
    lines = render("github", [configured]).splitlines()
    assert [line.split(",title")[0] for line in lines] == ["::error file=pyproject.toml,line=7"] * 3
    assert json.loads(render("gitlab", [configured]))[0]["location"] == {
        "path": "pyproject.toml",
        "lines": {"begin": 7},
    }


def test_reports_name_files_as_the_repository_does(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert "file=sub/src/net.py,line=12," in render("github", [FAIL])
    outside = replace(FAIL, places={"b2": ("/else where/n%t.py", 3)})
    run = json.loads(render("sarif", [outside]))["runs"][0]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"] == {
        "uri": "file:///else%20where/n%25t.py"
    }


def test_github_takes_no_command_from_a_name() -> None:
    evil = replace(PASS, findings=(finding(1, name="x\n::set-env name=A::b,c"),))
    assert render("github", [evil]).count("\n") == 1


def test_gitlab_has_what_gitlab_requires() -> None:
    issues = json.loads(render("gitlab", [FAIL, MISSING]))
    assert len(issues) == 15
    assert all({"description", "check_name", "fingerprint", "severity", "location"} <= issue.keys() for issue in issues)
    assert issues[0]["severity"] == "critical"
    assert issues[0]["location"] == {"path": "src/net.py", "lines": {"begin": 12}}
    assert len({issue["fingerprint"] for issue in issues}) == 15
    assert json.loads(render("gitlab", [replace(FAIL, notices=())]))[0]["fingerprint"] == issues[0]["fingerprint"]


def test_sarif_has_what_the_standard_requires() -> None:
    document = json.loads(render("sarif", [FAIL, MISSING]))
    assert document["version"] == "2.1.0"
    run = document["runs"][0]
    assert run["tool"]["driver"]["name"] == "sppkit"
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} == rules == {"baseline", "baseline/channel_variance"}
    assert all(
        result["level"] in {"error", "warning", "note"} and result["message"]["text"] for result in run["results"]
    )
    physical = run["results"][1]["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"]["uri"] == "src/net.py"
    assert physical["region"] == {"startLine": 12}


def test_markdown_is_a_table_that_names_can_not_break() -> None:
    text = render("markdown", [FAIL])
    assert text.startswith("<!-- sppkit check -->\n### ❌ FAIL net: 13 of 16 blocks fail")
    assert "**Likely cause:** a gain is missing: 50 % of &lt;it&gt;, a\\|b." in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 13
    assert {row.replace("\\|", "").count("|") for row in rows} == {10}


def test_reports_are_parsed_and_checked_before_anything_runs(tmp_path) -> None:
    path = tmp_path / "a.xml"
    assert parse_reports([f"junit={path}", "github"]) == [("junit", str(path)), ("github", "-")]
    for given, message in [
        (["junti=x"], "unknown report format 'junti'; did you mean 'junit'?"),
        (["junit"], "say where to, as in junit=FILE"),
        ([f"junit={tmp_path}"], "it is a folder"),
        ([f"junit={tmp_path}/no/a.xml"], "there is no folder"),
        ([f"junit={path}", f"json={path}"], "two reports would go to"),
    ]:
        with pytest.raises(UsageError) as caught:
            parse_reports(given)
        assert message in str(caught.value)


def test_github_also_appends_to_the_step_summary(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    shown = publish(parse_reports(["github", f"json={tmp_path / 'r.json'}"]), [FAIL])
    assert shown[0].startswith("::error")
    assert summary.read_text(encoding="utf-8").startswith("before\n<!-- sppkit check -->")
    assert json.loads((tmp_path / "r.json").read_text())["passed"] is False


def test_a_report_goes_through_links_and_into_what_is_no_file(tmp_path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "real.json").write_text("old", encoding="utf-8")
    (tmp_path / "link.json").symlink_to("real.json")
    publish(parse_reports([f"json={tmp_path / 'link.json'}", "junit=/dev/null", "sarif=/dev/null"]), [FAIL])
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text(encoding="utf-8"))["passed"] is False
    publish(parse_reports(["gitlab=/dev/stderr"]), [FAIL])
    assert json.loads(capfd.readouterr().err)[0]["severity"] == "critical"
    with pytest.raises(UsageError, match="two reports would go to"):
        parse_reports([f"json={tmp_path / 'link.json'}", f"junit={tmp_path / 'real.json'}"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_report_on_a_full_device_is_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        publish(parse_reports(["json=/dev/full"]), [FAIL])
    assert str(caught.value) == "can't write /dev/full: No space left on device. Choose another place for the report."


def test_standard_output_by_its_path_belongs_to_the_report(tmp_path) -> None:
    (tmp_path / "mine").symlink_to("/dev/stdout")
    for path in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", tmp_path / "mine"):
        reports = parse_reports([f"json={path}"])
        assert takes_output(reports)
        assert json.loads(publish(reports, [FAIL])[0])["passed"] is False


# --- published schemas, and what strangers call things

# An escape sequence, C1, a turned direction of writing, line breaks of every kind, half a letter, and what XML, HTML,
# Markdown and GitHub's runner read as their own.
HOSTILE = "\x1b[2J\x9b1m\u202e\u2028\r\n::error::x\x00\ud800\ufffe|`*</a>&lt;<!-- @you #1 ]]> https://e.example %0A"
EVIL = replace(
    FAIL, name=HOSTILE, title=HOSTILE, missing=HOSTILE, notices=(HOSTILE,), judged=(HOSTILE,), skipped=(HOSTILE,),
    next_steps=(HOSTILE,), sites=(HOSTILE, "b1"), places={HOSTILE: (HOSTILE, 3)},
    findings=(finding(0, name=HOSTILE, cause=HOSTILE, reason=HOSTILE, statistic=HOSTILE), finding(1, level="warn")),
)  # fmt: skip
EVERY = [[], [PASS], [FAIL, PASS, MISSING], [EVIL], [EVIL, EVIL, FAIL]]


@pytest.mark.parametrize("verdicts", EVERY, ids=["none", "passed", "several", "hostile", "mixed"])
def test_reports_are_valid_by_their_published_schemas(verdicts: list[Verdict]) -> None:
    sarif = json.loads(render("sarif", verdicts))
    assert is_sarif(sarif)
    for run in sarif["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(set(rules)) == len(rules)
        assert {result["ruleId"] for result in run["results"]} == set(rules)
    assert is_gitlab(json.loads(render("gitlab", verdicts)))
    assert is_junit(ET.fromstring(render("junit", verdicts).encode()))


def test_the_schemas_can_fail() -> None:
    sarif = json.loads(render("sarif", [FAIL]))
    sarif["runs"][0]["tool"]["driver"]["rules"][0].pop("shortDescription")
    with pytest.raises(AssertionError):
        is_sarif(sarif)
    with pytest.raises(AssertionError):
        is_junit(ET.fromstring("<testsuites><testsuite/></testsuites>"))
    with pytest.raises(AssertionError):
        is_gitlab([{"description": "x"}])


@pytest.mark.parametrize("name", FORMATS)
def test_no_report_holds_a_letter_that_commands(name: str) -> None:
    text = render(name, [EVIL, FAIL])
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "\\x1b[2J" in text or "\\\\x1b" in text or "\\u001b[2J" in text


def test_the_terminal_shows_a_hostile_name_on_its_line() -> None:
    lines = render_text(EVIL).splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith("FAIL \\x1b[2J\\x9b1m\\u202e\\u2028\\r\\n::error::x\\x00\\ud800\\ufffe|")


def test_github_and_markdown_read_nothing_of_their_own_in_a_name() -> None:
    lines = render("github", [EVIL]).splitlines()
    assert all(line.startswith(("::error ", "::warning ")) for line in lines)
    assert len(lines) == 3
    text = render("markdown", [EVIL])
    assert "</a>" not in text
    assert "@you" not in text
    assert " #1" not in text
    assert "https://e" not in text
    assert "&amp;lt;&lt;!-- @<!-- -->you" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {10}
