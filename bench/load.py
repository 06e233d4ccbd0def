"""A load of hook calls from its own process: so many clients, at most so many calls a second, for so long."""

import argparse
import asyncio
import json
import time
from urllib.parse import urlsplit


async def client(
    url: str, until: float, *, gap_s: float, start_s: float, took_ms: list[float], wrong: list[bytes]
) -> None:
    """Call, wait for the answer, call again; each call begins on its own beat or as soon as possible after."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    await asyncio.sleep(start_s)
    beat, number = time.monotonic(), 0
    while time.monotonic() < until:
        number += 1
        body = b'{"order": %d, "total": 150, "email": "ada@example.com"}' % number
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        began = time.monotonic()
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        text = await reader.readexactly(length)
        took_ms.append((time.monotonic() - began) * 1000)
        if b" 202 " not in answer[:20]:
            wrong.append(answer[:40] + text[:100])
        beat += gap_s
        if (rest := beat - time.monotonic()) > 0:
            await asyncio.sleep(rest)
        elif gap_s:
            beat = max(beat, time.monotonic() - 1)
    writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument(
        "--rate", type=float, default=0, help="calls a second in all; 0: as fast as answers come"
    )
    parser.add_argument("--seconds", type=float, default=15)
    given = parser.parse_args()
    gap_s = given.clients / given.rate if given.rate else 0.0
    took_ms: list[float] = []
    wrong: list[bytes] = []
    until = time.monotonic() + given.seconds
    await asyncio.gather(
        *(
            client(
                given.url, until, gap_s=gap_s, start_s=gap_s * n / given.clients, took_ms=took_ms, wrong=wrong
            )
            for n in range(given.clients)
        )
    )
    took_ms.sort()
    report = {
        "calls": len(took_ms),
        "wrong": len(wrong),
        "first_wrong": wrong[0].decode(errors="replace") if wrong else None,
        "p50_ms": took_ms[len(took_ms) // 2],
        "p99_ms": took_ms[int(len(took_ms) * 0.99)],
        "max_ms": took_ms[-1],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
