"""What the published schemas of report formats require, of the parts that a gate's report has.

Written from SARIF 2.1.0 (OASIS, sections 3.13 to 3.49) with what GitHub's code scanning adds, GitLab's code quality
format, and the JUnit schema that Jenkins publishes. Each reader refuses a property that it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from xml.etree.ElementTree import Element


def is_object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> Callable[[Any], bool]:
    known = {**required, **(optional or {})}

    def holds(value: Any) -> bool:
        assert isinstance(value, dict), value
        assert required.keys() <= value.keys() <= known.keys(), value
        for name, item in value.items():
            assert known[name](item), f"{name}: {item!r:.200}"
        return True

    return holds


def is_list(item: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(item, value))


def one_of(*values: str) -> Callable[[Any], bool]:
    return lambda value: value in values


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def is_line(value: Any) -> bool:
    return type(value) is int and value >= 1


def is_uri(value: Any) -> bool:
    return is_text(value) and value.isascii() and not set(value) & set(' "<>\\^`{|}')


def is_path(value: Any) -> bool:
    return is_text(value) and not value.startswith(("/", "./"))


# GitHub shows 1024 letters of a description.
message = is_object({"text": lambda value: is_text(value) and len(value) <= 1024})
rule = is_object({"id": is_text, "shortDescription": message, "fullDescription": message}, {"help": message})
location = is_object(
    {
        "physicalLocation": is_object(
            {"artifactLocation": is_object({"uri": is_uri}, {"uriBaseId": is_text})},
            {"region": is_object({"startLine": is_line})},
        )
    },
    {"logicalLocations": is_list(is_object({"name": is_text}, {"fullyQualifiedName": is_text, "kind": is_text}))},
)
result = is_object(
    {
        "ruleId": is_text,
        "level": one_of("none", "note", "warning", "error"),
        "message": is_object({"text": is_text}),
        "locations": is_list(location, 1),
    },
    {"partialFingerprints": lambda value: isinstance(value, dict) and all(map(is_text, value.values()))},
)
driver = is_object({"name": is_text}, {"version": is_text, "rules": is_list(rule)})
run = is_object(
    {"tool": is_object({"driver": driver})}, {"results": is_list(result), "columnKind": one_of("unicodeCodePoints")}
)
is_sarif = is_object({"version": one_of("2.1.0"), "runs": is_list(run)}, {"$schema": is_uri})

issue = is_object({
    "description": is_text,
    "check_name": is_text,
    "fingerprint": is_text,
    "severity": one_of("info", "minor", "major", "critical", "blocker"),
    "location": is_object({"path": is_path, "lines": is_object({"begin": is_line})}),
})
is_gitlab = is_list(issue)

# Attributes, and children, in Jenkins' schema; a testsuite and a testcase must have a name.
_ATTRIBUTES = {
    "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id"},
    "testcase": {"name", "classname", "time", "assertions", "status"},
    "failure": {"type", "message"},
    "error": {"type", "message"},
    "system-out": set(),
}
_CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"properties", "testcase", "system-out", "system-err"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}


def is_junit(root: Element) -> bool:
    assert root.tag == "testsuites"
    for element in root.iter():
        assert set(element.keys()) <= _ATTRIBUTES[element.tag], element.attrib
        assert {child.tag for child in element} <= _CHILDREN.get(element.tag, set())
        assert element.tag not in {"testsuite", "testcase"} or element.get("name")
        counts = [element.get(name, "0") for name in ("tests", "failures", "errors")]
        assert all(map(str.isdecimal, counts))
    return True
