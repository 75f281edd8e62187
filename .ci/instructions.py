#!/usr/bin/env python3
"""Counts the instructions that each part of the path takes, and fails if one takes many more than it did.

    instructions.py PARTS

PARTS is the program that `cargo build --release --bench parts` makes. Instructions do not depend on what else the machine does,
so this holds where a time would not. They do depend on the compiler and on what the processor has: half as many again as were
counted last is too many. What takes half as many is told, too: its figure is to be lowered.
"""

import re
import subprocess
import sys

# Instructions for each record, group or row, as counted last.
COUNTED = {
    "decode": 2990,
    "decode_spaced": 5353,
    "group": 435,
    "group_many": 604,
    "close_many": 1476,
    "parquet": 1968,
}
TIMES = {"decode": 8, "decode_spaced": 8, "group": 32}


def instructions(program: str, part: str, times: int) -> tuple[int, int]:
    """All that the program executes when it does a part so often, and how many items one time has."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    done = subprocess.run([*command, program, "--times", str(times), part], capture_output=True, text=True, check=False)
    found = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"{part}: {done.stderr[-2000:]}")
    return int(found.group(1).replace(",", "")), int(done.stdout.split()[-1])


def main() -> None:
    program = sys.argv[1]
    too_many = []
    for part, counted in COUNTED.items():
        few, many = 1, 1 + TIMES.get(part, 2)
        (before, items), (after, _) = (instructions(program, part, times) for times in (few, many))
        taken = (after - before) / (many - few) / items
        ratio = taken / counted
        print(f"{part:14} {taken:10,.0f} instructions an item, {ratio:.2f} of {counted:,}", flush=True)
        if ratio > 1.5:
            too_many.append(part)
        elif ratio < 0.5:
            print(f"{part:14} takes less than it did: lower its figure in {sys.argv[0]}")
    if too_many:
        sys.exit(f"more instructions than before: {', '.join(too_many)}")


if __name__ == "__main__":
    main()
