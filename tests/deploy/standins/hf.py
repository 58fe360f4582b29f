"""``hf download REPOSITORY``: says what it would fetch, and whether it has a token for it."""

from __future__ import annotations

import os
import sys


def main() -> None:
    if sys.argv[1:2] != ["download"]:
        sys.exit(f"Error: No such command {sys.argv[1:2]}")
    token = "with" if os.environ.get("HF_TOKEN") else "without"
    sys.stdout.write(f"stand-in of hf downloads {' '.join(sys.argv[2:])} {token} a token\n")


if __name__ == "__main__":
    main()
