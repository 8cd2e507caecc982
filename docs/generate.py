"""Writes what is made from vmctl itself: docs/vmfile.md, docs/library-reference.md, docs/codes/,
docs/gallery.md and docs/screenshots/.

Run by `make docs`; a test compares them.
"""

from __future__ import annotations

import ast
import inspect
import io
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

import vm_manager
from vm_manager import Manager, VmError
from vm_manager.diagnostics.examples import example_of
from vm_manager.diagnostics.registry import CODES, Code
from vm_manager.ui.fancy import draw
from vm_manager.vmfile.reference import reference

DOCS = Path(__file__).parent
GALLERY = DOCS.parent / "tests" / "gallery"
WIDTH = 80


def pages() -> dict[str, str]:
    """Path below docs/ → content."""
    codes = {f"codes/{page_name(entry.code)}": page(entry) for entry in CODES.values()}
    made = {
        "vmfile.md": reference(),
        "library-reference.md": library(),
        "codes/README.md": index(),
        "gallery.md": gallery(),
    }
    return {**made, **codes, **screenshots()}


def screenshots() -> dict[str, str]:
    """What a terminal of 80 columns shows of three failures that really happen here."""
    return {
        "screenshots/mistakes.svg": screenshot(vmfile_failure("mistakes.kdl"), "vmctl up"),
        "screenshots/brace.svg": screenshot(vmfile_failure("brace.kdl"), "vmctl up"),
        "screenshots/name.svg": screenshot(name_failure(), "vmctl status wbe"),
    }


def vmfile_failure(name: str) -> VmError:
    """What is wrong with a sample."""
    before = Path.cwd()
    os.chdir(DOCS / "samples")
    try:
        Manager().load(Path(name))
    except VmError as error:
        return error
    finally:
        os.chdir(before)
    raise AssertionError(f"{name} is right")


def name_failure() -> VmError:
    """A VM's name with a typing mistake."""
    with tempfile.TemporaryDirectory() as directory:
        project = Path(directory)
        (project / "disk").touch()
        (project / "VMFile.kdl").write_text('vm "web" { image "disk" }')
        manager = Manager(project / "data", backend="noop")
        manager.up(manager.load(project / "VMFile.kdl"))
        try:
            manager.status("wbe")
        except VmError as error:
            return error
    raise AssertionError("there is no such VM")


def screenshot(error: VmError, command: str) -> str:
    """The failure as SVG, by Rich's own export."""
    console = Console(
        width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="256", legacy_windows=False,
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    draw(console, error.diagnostic)
    return console.export_svg(title=command, unique_id="vmctl")


def page_name(code: str) -> str:
    """The file of a code's page."""
    return f"{code.replace('::', '.')}.md"


def index() -> str:
    """The table of all codes."""
    rows = [
        f"| {entry.number} | {entry.exit_code} | [`{entry.code}`]({page_name(entry.code)}) | {entry.meaning} |"
        for entry in CODES.values()
    ]
    head = "# Codes\n\nEvery failure has one of these codes. `vmctl explain CODE` prints the same page.\n\n"
    return head + "\n".join(("| no. | exit status | code | meaning |", "|---|---|---|---|", *rows)) + "\n"


def page(entry: Code) -> str:
    """The page of a code."""
    example = example_of(entry.code)
    causes = "\n".join(f"{number}. {cause}" for number, cause in enumerate(entry.causes, 1))
    parts = [
        f"# `{entry.code}`",
        entry.meaning,
        f"Number {entry.number}, exit status {entry.exit_code}, fault: {entry.fault}, kind: {entry.kind}, since {entry.since}.",
        "Likely causes, most likely first:",
        causes,
        f"What to do: {entry.help}.",
    ]
    if example:
        parts += ["Example:", f"```text\n{example.rstrip()}\n```"]
    else:
        parts.append("Reserved for a future feature.")
    return "\n\n".join(parts) + "\n"


def gallery() -> str:
    """What vmctl shows first in situations that people meet: the tests of the gallery, with the screens that they keep."""
    sections, count = [], 0
    for module in sorted(GALLERY.glob("test_*.py")):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        rows = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        count += sum(len(screens(row)) for row in rows)
        sections += [f"## {ast.get_docstring(tree)}", *(gallery_row(row) for row in rows)]
    head = (
        f"{count} situations, each produced for real by a test, which also follows the help and shows that it works. "
        "Paths and process ids are replaced."
    )
    return "\n\n".join(("# Gallery of failures", textwrap.fill(head, 130), *sections)) + "\n"


def gallery_row(row: ast.FunctionDef) -> str:
    """A situation and its screens: one, or one for each variant."""
    title = " ".join((ast.get_docstring(row) or "").split())
    blocks = (f"```text\n{screen.read_text(encoding='utf-8').rstrip()}\n```" for screen in screens(row))
    return "\n\n".join((f"### {title}", *blocks))


def screens(row: ast.FunctionDef) -> list[Path]:
    """The screens of a row: `name.txt`, or `name[variant].txt` of a test with parameters."""
    name = row.name.removeprefix("test_")
    kept = (GALLERY / "screens").glob("*.txt")
    return sorted(path for path in kept if path.stem.partition("[")[0] == name)


def library() -> str:
    """What `vm_manager` exports: the methods of `Manager` as they are written, the values, the functions and the failures."""
    parts = [
        "# The library",
        "What `vm_manager` exports. [library.md](library.md) shows how it is used.",
        "## `Manager`",
        described(Manager),
        *methods(),
        "## Functions",
        *(function(value) for _, value in exported(inspect.isfunction)),
        "## Values",
        "\n".join(("```python", *aliases(), "```")),
        *(f"### `{name}`\n\n{described(value)}{members(value)}" for name, value in exported(is_value)),
        "## Failures",
        "\n".join(("| class | below | code |", "|---|---|---|", *failures())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def methods() -> Iterator[str]:
    """The public methods of `Manager`."""
    for name, method in vars(Manager).items():
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
            yield function(inspect.unwrap(method))


def function(value: object) -> str:
    """A function: its signature as it is written, and its docstring."""
    assert inspect.isfunction(value)
    source = textwrap.dedent(inspect.getsource(value))
    (node,) = ast.parse(source).body
    assert isinstance(node, ast.FunctionDef)
    assert node.returns is not None
    lines = source.splitlines()[node.lineno - 1 : node.returns.end_lineno]
    signature = "\n".join(lines).removesuffix(":")
    return f"```python\n{signature}\n```\n\n{described(value) if value.__doc__ else ''}".rstrip()


def aliases() -> Iterator[str]:
    """The names of types that are made of others."""
    whole = str(vm_manager.Event)
    for name, value in exported(lambda value: not isinstance(value, type) and not inspect.isfunction(value)):
        text = str(value) if name == "Event" else str(value).replace(whole, "Event")
        bare = re.sub(r"\b(?:\w+\.)+(?=\w)", "", text)
        yield f"{name} = {bare}"


def exported(wanted: object) -> Iterator[tuple[str, type]]:
    """The names of the package for which `wanted` holds, and what they stand for."""
    assert callable(wanted)
    for name in sorted(vm_manager.__all__, key=str.lower):
        if wanted(value := getattr(vm_manager, name)):
            yield name, value


def is_value(value: object) -> bool:
    """Whether it is a class that is neither the manager nor a failure."""
    return inspect.isclass(value) and value is not Manager and not issubclass(value, VmError)


def described(value: object) -> str:
    """A docstring as Markdown, its codes as links."""
    text = re.sub(r"(?m)^(?=\w+(?:, \w+)*: |Raises: )", "\n", inspect.getdoc(value) or "").strip()
    return re.sub(r"`((?:[a-z0-9_]+::)+[a-z0-9_]+)`", linked, re.sub(r"\n{3,}", "\n\n", text))


def linked(found: re.Match[str]) -> str:
    """A code with its page."""
    code = found[1] if found[1] in CODES else f"vm_manager::{found[1]}"
    return f"[{found[0]}](codes/{page_name(code)})"


def members(value: type) -> str:
    """The fields of a dataclass, or the words of an enum."""
    own = vars(value).get("__annotations__", {})
    words = [f"{name}: {kind}" for name, kind in own.items() if not name.startswith("_")]
    words = words or [f'{name} = "{word.value}"' for name, word in getattr(value, "__members__", {}).items()]
    return "\n\n```python\n" + "\n".join(words) + "\n```" if words else ""


def failures() -> Iterator[str]:
    """A row for each class of failures."""
    for name, value in exported(lambda value: inspect.isclass(value) and issubclass(value, VmError)):
        below = ", ".join(f"`{base.__name__}`" for base in value.__bases__ if base is not Exception)
        code = vars(value).get("code", "")
        yield f"| `{name}` | {below} | {f'[`{code}`](codes/{page_name(code)})' if code else ''} |"


def main() -> None:
    """Write all pages, and remove those of codes that are no more."""
    wanted = pages()
    for stale in (*(DOCS / "codes").glob("*.md"), *(DOCS / "screenshots").glob("*.svg")):
        if str(stale.relative_to(DOCS)) not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        path = DOCS / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
