"""Read what `ptxas -v` and `nvdisasm` print of one kernel."""

import re
from collections import Counter
from typing import NamedTuple

INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(@!?U?P[T\d]+\s+)?([A-Z][\w.]*)\s*([^;]*);")
LABEL = re.compile(r"(\.L_x_\d+):")
BRANCH_TARGET = re.compile(r"`\((\.L_x_\d+)\)")
MEMORY_WIDTH = re.compile(r"\.(?:U|S)?(8|16|64|128)\b")

# D... and what converts from or to float64; MUFU.RCP64H begins a float64 division.
FLOAT64 = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX|MMA)\b|(F2F|F2I|I2F|FRND)\S*\.F64\b|MUFU\.\w+64H")
LOCAL = re.compile(r"(LDL|STL)\b")
DIVISION = re.compile(r"MUFU\.(RCP|RSQ)|CALL\b")
# Sixteen lanes a clock, in the unit of the reciprocals. F2FP and I2FP are no such.
CONVERSION = re.compile(r"(I2F|F2I|F2F|I2I|FRND|MUFU)\b")
FAST_CONVERSION = re.compile(r"I2FP\b")
UNKNOWN_WAY = re.compile(r"(BRXU?|JMXU?|JMP)\b")


class Instruction(NamedTuple):
    """One instruction: its name with all suffixes, and where it may go on."""

    name: str
    falls_through: bool
    target: int | None


class Code(NamedTuple):
    """What one kernel is made of; all but the first three count instructions.

    Attributes
    ----------
    registers, stack_bytes, spill_bytes : int
        Of a thread.
    instructions : int
        On the longest way through: that of a thread all of whose pixels lie inside the image.
    branches, backward : int
        Jumps ahead, and jumps back, of loops that were not unrolled: `instructions` takes those for
        one round.
    loads, stores : dict of str to int
        Of global memory, by the width in bits.
    float64, local, division : int
        Float64; memory of the thread's own; reciprocals and calls, of which divisions are made.
    conversions, fast_conversions : int
        By the slow unit (I2F, F2I, F2F, FRND), and by the common one (I2FP).
    """

    registers: int
    stack_bytes: int
    spill_bytes: int
    instructions: int
    branches: int
    backward: int
    loads: dict[str, int]
    stores: dict[str, int]
    float64: int
    local: int
    division: int
    conversions: int
    fast_conversions: int


def parse_sass(listing: str) -> list[Instruction]:
    """Return the instructions of a listing with one function, without what pads its end.

    Raises
    ------
    ValueError
        At an instruction that goes on at a place that the listing does not tell.
    """
    found: list[tuple[str, bool, str | None]] = []
    labels: dict[str, int] = {}
    for line in listing.splitlines():
        if label := LABEL.match(line.strip()):
            labels[label[1]] = len(found)
        elif match := INSTRUCTION.search(line):
            guard, name, operands = match.groups()
            if UNKNOWN_WAY.match(name):
                raise ValueError(f"Where {name} goes on cannot be read from a listing.")
            is_branch = name.split(".")[0] == "BRA"
            target = BRANCH_TARGET.search(operands) if is_branch else None
            # RET ends the subroutine of a division, which lies after the kernel.
            can_end = name.split(".")[0] in ("BRA", "EXIT", "RET")
            ends = can_end and guard is None and "P" not in operands
            if name != "NOP":
                found.append((name, not ends, target[1] if target else None))
    instructions = [
        Instruction(name, falls, labels[target] if target else None)
        for name, falls, target in found
    ]
    return [item for at, item in enumerate(instructions) if item.target != at]


def longest_way(instructions: list[Instruction]) -> int:
    """Count the instructions of the longest way from the first to an end, jumps back not taken."""
    longest = [0] * (len(instructions) + 1)
    for at in reversed(range(len(instructions))):
        _, falls_through, target = instructions[at]
        ahead = longest[at + 1] if falls_through else 0
        if target is not None and target > at:
            ahead = max(ahead, longest[target])
        longest[at] = 1 + ahead
    return longest[0]


def widths(instructions: list[Instruction], name: str) -> dict[str, int]:
    """Count LDG or STG by the width in bits, narrow ones first."""
    counts: Counter[int] = Counter()
    for item in instructions:
        if item.name.split(".")[0] == name:
            width = MEMORY_WIDTH.search(item.name)
            counts[int(width[1]) if width else 32] += 1
    return {str(width): counts[width] for width in sorted(counts)}


def number(pattern: str, usage: str) -> int:
    """Return the number that `ptxas -v` gives for something."""
    match = re.search(rf"(\d+) {pattern}", usage)
    if match is None:
        raise ValueError(f"`ptxas -v` says nothing of {pattern}: {usage}")
    return int(match[1])


def read_code(usage: str, listing: str) -> Code:
    """Count what matters.

    Parameters
    ----------
    usage : str
        What ``ptxas -v`` printed.
    listing : str
        What ``nvdisasm -c`` printed.
    """
    instructions = parse_sass(listing)

    def count(pattern: re.Pattern[str]) -> int:
        return sum(pattern.match(item.name) is not None for item in instructions)

    jumps = [(at, item.target) for at, item in enumerate(instructions) if item.target is not None]
    return Code(
        registers=number("registers", usage),
        stack_bytes=number("bytes stack frame", usage),
        spill_bytes=number("bytes spill stores", usage) + number("bytes spill loads", usage),
        instructions=longest_way(instructions),
        branches=sum(target > at for at, target in jumps),
        backward=sum(target <= at for at, target in jumps),
        loads=widths(instructions, "LDG"),
        stores=widths(instructions, "STG"),
        float64=count(FLOAT64),
        local=count(LOCAL),
        division=count(DIVISION),
        conversions=count(CONVERSION),
        fast_conversions=count(FAST_CONVERSION),
    )
