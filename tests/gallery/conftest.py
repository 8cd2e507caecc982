"""Each test here is a row of the gallery."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from first_screen import Gallery


@pytest.fixture
def gallery(request: pytest.FixtureRequest) -> Iterator[Gallery]:
    """The row that the test is."""
    row = Gallery(request.node.name.removeprefix("test_"))
    yield row
    row.finish()
