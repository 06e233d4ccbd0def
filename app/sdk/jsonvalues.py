"""JSON as it comes in from strangers and as it is stored."""

import json
import math
import re
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 64
MAX_KEYS: Final = 20_000
MAX_VALUES: Final = 200_000
MAX_DIGITS: Final = 400

# Every quote starts a match, closed or not (then to the end), so that the scan stays linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]"))
_BRACES_AS_BRACKETS = bytes.maketrans(b"{}", b"[]")
# Only these can pass what a float or an int may hold, and only they pay for Python-level hooks.
_UNUSUAL_NUMBER = re.compile(r"[0-9.][eE]\+?[0-9]{2}|(?<![0-9])[0-9]{300}")
_BOM = b"\xef\xbb\xbf"


class BadJsonError(ValueError):
    """A body that cannot be accepted as JSON, in a plain sentence."""


def loads(
    raw: bytes, *, max_depth: int = MAX_DEPTH, max_keys: int = MAX_KEYS, max_values: int = MAX_VALUES
) -> Any:
    """The value of a UTF-8 JSON text; raises BadJsonError.

    The last of two equal keys wins. NUL and lone surrogates (`\\ud800`) stay: `dumps` writes ASCII.
    """
    _check_shape(raw, max_depth, max_keys, max_values)
    try:
        source = raw.removeprefix(_BOM).decode("utf-8")
        decoder = _CAREFUL if _UNUSUAL_NUMBER.search(source) else _FAST
        return decoder.decode(source)
    except UnicodeDecodeError as error:
        raise BadJsonError(f"the body is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BadJsonError(_sentence(error, source)) from None


def dumps(value: object) -> str:
    """Compact ASCII JSON; raises TypeError for what has no JSON form, ValueError for NaN and Infinity."""
    return _ENCODER.encode(value)


def _check_shape(raw: bytes, max_depth: int, max_keys: int, max_values: int) -> None:
    brackets = raw.count(b"[") + raw.count(b"{")
    keys, commas = raw.count(b":"), raw.count(b",")
    if brackets <= max_depth and keys <= max_keys and commas <= max_values:
        return
    bare = _STRING.sub(b"", raw)
    if bare.count(b":") > max_keys:
        raise BadJsonError(f"the body has more than {max_keys} keys")
    if bare.count(b",") > max_values:
        raise BadJsonError(f"the body has more than {max_values} values")
    if _is_deeper(bare, max_depth):
        raise BadJsonError(f"the body is nested deeper than {max_depth} levels, or its brackets do not match")


def _is_deeper(bare: bytes, levels: int) -> bool:
    """Take away the innermost pairs, level by level: `[[][]]` has two."""
    left = bare.translate(_BRACES_AS_BRACKETS).translate(None, _NOT_BRACKETS)
    for _ in range(levels):
        left = left.replace(b"[]", b"")
        if not left:
            return False
    return bool(left)


def _sentence(error: json.JSONDecodeError, source: str) -> str:
    if not source.strip():
        return "the body is empty; JSON was expected"
    what = error.msg[:1].lower() + error.msg[1:]
    return f"the body is not JSON: {what} at line {error.lineno}, column {error.colno}"


def _refuse(constant: str) -> NoReturn:
    raise BadJsonError(f"the body is not JSON: {constant} is not a number there")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise BadJsonError(f"the body holds a number of more than {MAX_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise BadJsonError(f"the body holds a number that is too large: {digits[:20]}")
    return value


_FAST = json.JSONDecoder(parse_constant=_refuse)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse, parse_int=_integer, parse_float=_float)
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
