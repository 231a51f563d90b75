"""YAML of an operator: what it says, and on which line. Whoever says something twice is told so.

The law of this module: a message holds nothing of the text but keys and signs of YAML, since there are secrets in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from yaml.parser import ParserError
from yaml.scanner import ScannerError


class NotYaml(ValueError):
    """A text that is no YAML, or says something twice."""

    def __init__(self, line: int | None, why: str) -> None:
        """`line`: counted from 1; None where it is not known."""
        super().__init__(why if line is None else f"line {line}: {why}")
        self.line, self.why = line, why


def parse(text: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """A YAML document, and the line of each key in it, counted from 1. Raises NotYaml."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = dict(_lines(node, (), ()))
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise NotYaml(line, f"this is not YAML: {_problem(error)}") from error
    except NotYaml:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none
        raise NotYaml(None, f"this is not YAML: {_unquoted(str(error))}") from error


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, without what stands there; signs of YAML are all that is quoted when it is read."""
    problem = error.problem or ""
    signs = isinstance(error, ScannerError | ParserError) and "handle" not in problem
    return problem if signs else _unquoted(problem)


def _unquoted(text: str) -> str:
    return re.split("['\"\n]", text, maxsplit=1)[0].rstrip(" :")


def _lines(node: yaml.Node, path: tuple[str, ...], above: Sequence[yaml.Node]) -> Iterator[tuple[tuple[str, ...], int]]:
    if node in above:
        raise NotYaml(node.start_mark.line + 1, f"{'.'.join(path)} stands within itself")
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*path, str(index)), (*above, node))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue  # no key that there is
        here, line = (*path, key.value), key.start_mark.line + 1
        if key.value in seen:
            raise NotYaml(line, f"{'.'.join(here)} stands here for the second time")
        seen.add(key.value)
        yield here, line
        yield from _lines(value, here, (*above, node))
