"""CEL, evaluated by the language's own runtime: rules over an object, and patterns in RE2's syntax."""

from functools import cache

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings


class EvaluationError(Exception):
    """An expression has no answer; the message is the runtime's."""


@cache
def _environment() -> cel.Env:
    variables = {"self": cel.Type.DYN, "pattern": cel.Type.STRING}
    return cel.NewEnv(variables=variables, extensions=[ext_strings.ExtStrings()])


@cache
def _compile(expression: str) -> cel.Expression:
    return _environment().compile(expression)


def holds(expression: str, **variables: object) -> bool:
    """Tells whether an expression over `self` (and `pattern`) is true."""
    answer = _compile(expression).eval(data=variables)
    if answer.type() != cel.Type.BOOL:
        raise EvaluationError(str(answer.plain_value()))
    return bool(answer.plain_value())


def matches(text: str, pattern: str) -> bool:
    """Tells whether a pattern is found in a text."""
    return holds("self.matches(pattern)", self=text, pattern=pattern)
