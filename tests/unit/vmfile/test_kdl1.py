"""Documents in KDL 1: read by kdl-py, and known no differently above."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from unit.vmfile.vmfiles import loaded, problems, write
from vm_manager.diagnostics.errors import VmFileError
from vm_manager.diagnostics.spans import Source, Span
from vm_manager.vmfile.kdl1 import read
from vm_manager.vmfile.load import load
from vm_manager.vmfile.nodes import Node, Scalar
from vm_manager.vmfile.parse import parse

_MARKER = "/- kdl-version 1\n"


def _only(text: str) -> Node:
    nodes, found = read(text)
    assert found == ()
    (node,) = nodes
    return node


def _at(text: str, span: Span) -> str:
    return text[span.start : span.end]


def test_nodes_arguments_and_properties_know_where_they_stand() -> None:
    text = '(t)node 1 "two" key=(u8)3 "quoted key"="v" {\n  child true\n  /- gone 1\n}'
    node = _only(text)
    assert (node.name, node.tag, _at(text, node.name_span)) == ("node", "t", "node")
    assert [_at(text, value.span) for value in node.arguments] == ["1", '"two"']
    assert {_at(text, entry.key_span): _at(text, entry.value.span) for entry in node.properties} == {
        "key": "(u8)3",
        '"quoted key"': '"v"',
    }
    (child,) = node.children
    assert (_at(text, child.name_span), child.arguments[0].value) == ("child", True)
    assert node.span.start == 0
    assert _at(text, node.span).endswith("true")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("4", 4),
        ("-4", -4),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b101", 5),
        (str(10**40 + 1), 10**40 + 1),
        ("true", True),
        ("null", None),
        ('"a\\nb"', "a\nb"),
        ('r#"a"b\\n"#', 'a"b\\n'),
    ],
)
def test_values_are_exact(written: str, value: Scalar) -> None:
    found = _only(f"n {written}").arguments[0]
    assert (found.value, type(found.value)) == (value, type(value))


@pytest.mark.parametrize(
    "text", ["n 1e400", f"n {'9' * 5000}", "n 1e99999", "a {\n" * 1000, 'n "', "}", "n=", "(", 'r#"']
)
def test_what_kdl_py_stumbles_over_is_one_problem(text: str) -> None:
    nodes, found = read(text)
    assert len(found) == 1 or nodes
    for problem in found:
        assert problem.span.end <= len(text)


def test_the_marker_decides(tmp_path: Path) -> None:
    text = 'vm "web" {\n  image "disk.qcow2"\n  cpu r"max"\n}\n'
    assert loaded(tmp_path, _MARKER + text).specs[0].cpu == "max"
    assert problems(tmp_path, "/- kdl-version 2\n" + text)[0].marked == ['r"max"']


def test_without_a_marker_what_reads_as_kdl_1_alone_is_kdl_1(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'vm "web" {\n  image "disk.qcow2"\n  cpu r"max"\n}\n').specs[0].cpu == "max"


def test_what_is_neither_gets_the_diagnostics_of_kdl_2(tmp_path: Path) -> None:
    found = problems(tmp_path, 'vm "web" {\n  image "disk.qcow2"\n  vcpus 2x\n  memory 4x\n}\n')
    assert [one.marked for one in found] == [["2x"], ["4x"]]


def test_both_readers_give_the_same_nodes_where_the_languages_agree() -> None:
    text = (
        'vm "web" {\n    vcpus 2; image "a\\tb"\n    network "user" {\n        forward host=80 guest=8080\n    }\n}\n'
    )
    (old,), (new,) = parse(Source("f", _MARKER + text)), parse(Source("f", "/- kdl-version 2\n" + text))

    def facts(node: Node) -> object:
        arguments = [(value.value, value.span) for value in node.arguments]
        properties = [(entry.key, entry.key_span, entry.value.span) for entry in node.properties]
        return node.name, node.name_span, arguments, properties, [facts(child) for child in node.children]

    assert facts(old) == facts(new)


def test_a_mistake_is_marked_as_in_kdl_2(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, _MARKER + 'vm "web" {\n  image "disk.qcow2"\n  vcpus 2 threads=4\n}\n')
    assert found.marked == ["threads=4"]


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, _MARKER + 'vm "web" {\n  vcpus ]\n}\n')
    (label,) = found.diagnostic.labels
    assert label.source.position(label.span.start)[0] == 3


def test_children_that_are_commented_out_are_none() -> None:
    assert _only("node /- {\n  child\n}\n").children == ()


def test_a_lone_surrogate_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, _MARKER + 'vm "web" {\n  image "disk.qcow2"\n  cpu "\\u{d800}"\n}\n')
    with pytest.raises(VmFileError):
        load(path)


def test_a_long_document_that_is_neither_is_refused_in_good_time(tmp_path: Path) -> None:
    path = write(tmp_path, 'vm "web" {\n' + '  vcpus 2\n  cpu "max"\n' * 3000 + "  vcpus 2x\n}\n")
    started = time.process_time()
    with pytest.raises(VmFileError):
        load(path)
    assert time.process_time() - started < 10
