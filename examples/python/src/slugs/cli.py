"""Prints a slug for each line of the standard input."""

import sys

from slugs import unique


def main() -> int:
    for line in unique([line.rstrip("\n") for line in sys.stdin]):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
