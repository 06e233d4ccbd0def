"""Reading the body of an answer within bounds: what arrives, and what it decodes to."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from app.sdk.errors import RejectedError

_STEP_BYTES = 65_536


def read_body(
    chunks: Iterable[bytes], headers: Mapping[str, str], *, host: str, max_bytes: int, empty: bool
) -> bytes:
    """The decoded body; RejectedError naming `host` beyond `max_bytes`, zlib.error when it is damaged.

    `empty` says that none follows, whatever the headers declare (the answer to HEAD).
    """
    declared = headers.get("content-length", "")
    if not empty and declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(host, max_bytes)
    body = bytearray()
    for part in _decoded(_capped(chunks, host, max_bytes), headers.get("content-encoding", "")):
        body += part
        if len(body) > max_bytes:
            raise _too_large(host, max_bytes)
    return bytes(body)


def _capped(chunks: Iterable[bytes], host: str, max_bytes: int) -> Iterator[bytes]:
    """What arrives is counted too: a compressed stream can go on for ever and decode to nothing."""
    arrived = 0
    for chunk in chunks:
        arrived += len(chunk)
        if arrived > max_bytes + _STEP_BYTES:
            raise _too_large(host, max_bytes)
        yield chunk


def _too_large(host: str, max_bytes: int) -> RejectedError:
    return RejectedError(f"the answer of {host} is larger than {max_bytes} bytes")


def _decoded(chunks: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """One coding is undone; several at once multiply a bomb, and are left as they are."""
    name = coding.strip().lower()
    if name in {"gzip", "x-gzip"}:
        return _inflated(chunks, zlib.MAX_WBITS | 16)
    if name == "deflate":
        first = next(chunks, b"")
        # RFC 9110 §8.4.1.2: some servers send deflate without its zlib wrapper.
        bits = zlib.MAX_WBITS if first[:1] and first[0] & 0x0F == 8 else -zlib.MAX_WBITS
        return _inflated(chain((first,), chunks), bits)
    return chunks


def _inflated(chunks: Iterable[bytes], bits: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(bits)
    empty = True
    for chunk in filter(None, chunks):
        empty = False
        part = inflater.decompress(chunk, _STEP_BYTES)
        while part:
            yield part
            part = inflater.decompress(inflater.unconsumed_tail, _STEP_BYTES)
    if not empty and not inflater.eof:
        raise zlib.error("cut short")
