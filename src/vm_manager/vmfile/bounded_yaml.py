"""YAML read within bounds: what a text of a kilobyte unfolds to, or nests, must not fill the memory.

Source: the YAML 1.1 specification and its merge keys (https://yaml.org/type/merge.html), as PyYAML reads them.
"""

from __future__ import annotations

from typing import Any

import yaml

# The largest cloud-config of the examples in cloud-init's documentation has some 300 nodes.
_MAX_NODES = 20_000
_MAX_DEPTH = 64
_MAX_MERGED = 10_000
_MAX_DIGITS = 1_000
# Multiples of 2^61 - 1 all have the same hash, and a mapping of them takes time with the square of its length.
_MAX_KEY_DIGITS = 18
_MERGE = "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"
_NUMBERS = (_INT, "tag:yaml.org,2002:float")


class YamlTooLarge(yaml.MarkedYAMLError):
    """More than is read; its `problem` says of what."""


def load(text: str) -> tuple[Any, yaml.Node | None]:
    """What the only document of a text says, and its nodes; None for an empty one.

    Raises: yaml.YAMLError, never anything else.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return (None, None) if node is None else (loader.construct_document(node), node)
    except RecursionError as error:
        raise YamlTooLarge(problem="aliases within each other") from error
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's own, for a value that is not of the type that its tag says: an empty `!!int`, a date of the year 0.
        raise yaml.YAMLError("a value that is not of its type") from error
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = self._merged = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count it and the nodes around it."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise YamlTooLarge(problem=f"more than {_MAX_NODES} values")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise YamlTooLarge(problem=f"nested more than {_MAX_DEPTH} deep")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        is_key = isinstance(parent, yaml.MappingNode) and index is None
        if is_key and isinstance(node, yaml.ScalarNode) and node.tag == _INT and len(node.value) > _MAX_KEY_DIGITS:
            raise YamlTooLarge(
                problem=f"a key that is a number of more than {_MAX_KEY_DIGITS} digits", problem_mark=node.start_mark
            )
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged mappings into this one; what is merged counts each time, and before it is."""
        for key, value in node.value:
            if key.tag == _MERGE:
                merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for mapping in merged:
                    self._count_merged(mapping)
        super().flatten_mapping(node)

    def _count_merged(self, node: yaml.Node) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        self.flatten_mapping(node)
        self._merged += 1 + len(node.value)
        if self._merged > _MAX_MERGED:
            raise YamlTooLarge(problem=f"more than {_MAX_MERGED} merged keys", problem_mark=node.start_mark)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """The text of a scalar. A number of base 60 takes time with the square of its length."""
        text = super().construct_scalar(node)
        if node.tag in _NUMBERS and len(text) > _MAX_DIGITS:
            raise YamlTooLarge(problem=f"a number of more than {_MAX_DIGITS} characters", problem_mark=node.start_mark)
        return text
