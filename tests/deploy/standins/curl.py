"""``curl [-fsS] URL`` for health checks: exit code 22 for an answer of 400 and more."""

from __future__ import annotations

import sys

import httpx


def main() -> None:
    try:
        answer = httpx.get(sys.argv[-1], trust_env=False)
    except httpx.TransportError as error:
        sys.stderr.write(f"curl: (7) {error}\n")
        sys.exit(7)
    sys.stdout.write(answer.text)
    sys.exit(22 if answer.is_error else 0)


if __name__ == "__main__":
    main()
