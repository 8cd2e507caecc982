"""The KDL 2 reader on texts that nobody wrote by hand: any gives a result, in time that grows with its length."""

from __future__ import annotations

import gc
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unit.vmfile.kdl_blame import problem_at_mark
from vm_manager.diagnostics.spans import Span
from vm_manager.vmfile.kdl2 import MAX_DEPTH, read
from vm_manager.vmfile.kdl2.text import MAX_PROBLEMS
from vm_manager.vmfile.nodes import Node

_VM = """vm "web" {
    image "images/debian.qcow2"     // a path
    vcpus 2
    network "user" {
        forward host=8080 guest=80 protocol="tcp"
    }
    mount "./src" "/srv/src" read-only=#true
    script #"echo "hello""#; text \"\"\"
        two
        lines \\u{41}
        \"\"\"
    /- gone (t)1.5e3 { }
}
"""
_PIECES = [*'"#\\/(){}[]=;,. \n\r\t-*+19axtrné١', '"""', "/*", "*/", "//", "/-", '#"', '"#', 'r"', "#true", "null"]
_PIECES += ["0x", "1e9", "\\u{", "\\\n", '"""\n', '\n  """', "\ufeff", "\x00", "\ud800", "\u2028", "(t)", "k=", "n {\n"]
_REPEATED = [_VM, *'"{}\\#([=1\x00', "/*", "/-", "a ", "a=1 ", "a{}\n", '"a', '"\n', '#"\n', '"""\n', "\\\n", 'a"b ']
_REPEATED += ['r"', "/**/", "a/", "x\\ /**/ ", '"\\', "//\n", "a{", "(a)b ", '"a",', "\x00 a\n"]
_IN_STRINGS = [('"', "\\ a"), ('"""\n', "\\ a"), ('"""\n', "x\\n\n"), ('#"""\n', "  x\n")]


def test_blocks_are_read_to_the_deepest_level_and_refused_at_the_brace_beyond() -> None:
    _, problems = read("a {" * MAX_DEPTH + "}" * MAX_DEPTH)
    assert problems == ()
    problem_at_mark("a {" * MAX_DEPTH + "a ⟦{⟧" + "a {" * 10_000)
    problem_at_mark("a /-{" * MAX_DEPTH + "a /-⟦{⟧" + "a /-{" * 10_000)


def test_comments_nest_without_limit() -> None:
    nodes, problems = read("/*" * 10_000 + "*/" * 10_000 + "n")
    assert [node.name for node in nodes] == ["n"]
    assert problems == ()


def test_a_number_may_be_long_but_not_endless() -> None:
    nodes, problems = read(f"n {'9' * 1000} 0x{'f' * 998} 1e9999")
    assert problems == ()
    assert nodes[0].arguments[0].value == 10**1000 - 1
    assert problem_at_mark(f"n ⟦{'9' * 1001}⟧").message == "number is too long"
    assert problem_at_mark(f"n ⟦0x{'f' * 100_000}⟧").message == "number is too long"
    assert problem_at_mark(f"n ⟦1e{'9' * 5000}⟧").message == "number is too long"


@pytest.mark.parametrize("number", ["1e99999999999999", "1e-99999999999999", "1e10000"])
def test_an_exponent_that_would_fill_the_memory_is_refused(number: str) -> None:
    assert problem_at_mark(f"n ⟦{number}⟧").message == "exponent is too large"


def test_reading_stops_when_there_are_more_problems_than_anybody_reads() -> None:
    _, problems = read("n 1x\n" * 1000)
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].message == "more than 100 syntax errors: the rest was not read"


def _seconds(text: str) -> float:
    def once() -> float:
        start = time.process_time()
        read(text)
        return time.process_time() - start

    return min(once() for _ in range(3))


def _is_linear(short: str, long: str) -> bool:
    """Whether four times the length takes about four times as long, and not sixteen; on a busy machine in one of five tries."""
    gc.disable()  # it looks at more objects the more there are: that is not the reader's time
    try:
        # The constant covers a clock that counts in hundredths.
        return any(_seconds(long) < 9 * _seconds(short) + 0.03 for _ in range(5))
    finally:
        gc.enable()


@pytest.mark.parametrize("piece", _REPEATED)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    size = 30_000
    assert _is_linear(*((piece * (length // len(piece) + 1))[:length] for length in (size, 4 * size)))


@pytest.mark.parametrize(("opening", "piece"), _IN_STRINGS)
def test_time_grows_with_the_length_of_a_string_alone(opening: str, piece: str) -> None:
    assert _is_linear(*(f"n {opening}{piece * repeats}" for repeats in (15_000, 60_000)))


def test_time_grows_with_the_number_of_braces_on_an_indented_line_alone() -> None:
    assert _is_linear(*(f"{' ' * repeats}a {{{'b{};' * repeats}" for repeats in (5_000, 20_000)))


def _check(node: Node, outer: Span) -> None:
    spans = [node.name_span, *(value.span for value in node.arguments), *(prop.span for prop in node.properties)]
    assert outer.start <= node.span.start <= node.span.end <= outer.end
    assert all(node.span.start <= span.start <= span.end <= node.span.end for span in spans)
    for child in node.children:
        _check(child, node.span)


def _check_result(text: str) -> None:
    nodes, problems = read(text)
    for node in nodes:
        _check(node, Span(0, len(text)))
    starts = [problem.span.start for problem in problems]
    assert starts == sorted(starts)
    for problem in problems:
        assert problem.span.end <= len(text)
        assert problem.message.isprintable()
        assert not problem.message.endswith(".")
        assert problem.help is None or problem.help.isprintable()


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=60).map("".join))
@example('"\\')
@example('n """\n\\')
@example("n /-")
@example("\ufeff\ufeff")
def test_any_row_of_tokens_gives_a_result_with_spans_inside_the_text(text: str) -> None:
    _check_result(text)


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_any_text_gives_a_result_with_spans_inside_the_text(text: str) -> None:
    _check_result(text)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.tuples(st.integers(0, len(_VM)), st.integers(0, 3), st.sampled_from(["", *_PIECES])), max_size=5))
def test_any_change_to_a_document_gives_a_result_with_spans_inside_the_text(
    changes: list[tuple[int, int, str]],
) -> None:
    text = _VM
    for start, removed, inserted in changes:
        text = text[:start] + inserted + text[start + removed :]
    _check_result(text)


def test_a_document_with_all_of_the_language_has_no_problems() -> None:
    assert read(_VM)[1] == ()
