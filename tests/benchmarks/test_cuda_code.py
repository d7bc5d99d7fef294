"""How the listings of CUDA machine code are read, and which kernels are looked at."""

from itertools import combinations

import pytest

from fusewarp.benchmarks.scripts.cuda_code import covering_cases, every_case, resident_warps
from fusewarp.benchmarks.scripts.cuda_reads import count_reads
from fusewarp.benchmarks.scripts.cuda_sass import longest_way, parse_sass, read_code

USAGE = """ptxas info    : Function properties for warp
    16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 38 registers, used 0 barriers
"""
LISTING = """
warp:
.text.warp:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 EXIT ;
        /*0020*/                   LDG.E.64 R20, desc[UR14][R22.64+0x8] ;
        /*0030*/               @!P1 BRA `(.L_x_1) ;
        /*0040*/                   LDG.E.U8 R2, desc[UR14][R22.64] ;
        /*0050*/                   I2F.U16 R2, R2 ;
        /*0060*/                   I2FP.F32.U32 R3, R4 ;
        /*0070*/                   BRA `(.L_x_2) ;
.L_x_1:
        /*0080*/                   MOV R2, 0x7 ;
.L_x_2:
        /*0090*/                   F2FP.F16.F32.PACK_AB R5, R18, R5 ;
        /*00a0*/                   STG.E.128 desc[UR14][R14.64], R4 ;
        /*00b0*/                   STG.E desc[UR14][R14.64], R4 ;
        /*00c0*/                   EXIT ;
.L_x_3:
        /*00d0*/                   BRA `(.L_x_3);
        /*00e0*/                   NOP;
"""


def with_line(instruction):
    """Put one instruction before the last store."""
    return LISTING.replace("STG.E.128", f"{instruction} ;\n        /*00a1*/ STG.E.128")


def test_counts_of_a_listing():
    code = read_code(USAGE, LISTING)
    assert code.registers == 38
    assert code.stack_bytes == 16
    assert code.spill_bytes == 12
    assert code.loads == {"8": 1, "64": 1}
    assert code.stores == {"32": 1, "128": 1}
    assert (code.conversions, code.fast_conversions) == (1, 1)
    assert (code.float64, code.local, code.division, code.backward) == (0, 0, 0, 0)
    assert code.branches == 2


def test_longest_way_takes_one_branch_and_no_padding():
    # 13 lines that do something, less the MOV of the other branch.
    assert read_code(USAGE, LISTING).instructions == 12


@pytest.mark.parametrize("instruction", ["DADD R2, R2, R4", "F2F.F64.F32 R2, R2", "I2F.F64 R2, R3"])
def test_float64_is_seen(instruction):
    assert read_code(USAGE, with_line(instruction)).float64 == 1


@pytest.mark.parametrize("instruction", ["MUFU.RCP R2, R2", "CALL.REL.NOINC `(.L_x_1)"])
def test_division_is_seen(instruction):
    assert read_code(USAGE, with_line(instruction)).division == 1


@pytest.mark.parametrize("instruction", ["LDL R2, [R1]", "STL.64 [R1], R2"])
def test_local_memory_is_seen(instruction):
    assert read_code(USAGE, with_line(instruction)).local == 1


def test_loops_are_seen():
    assert read_code(USAGE, with_line("@P0 BRA `(.L_x_1)")).backward == 1


def test_a_way_that_is_not_in_the_listing_is_refused():
    with pytest.raises(ValueError, match="BRX"):
        parse_sass(with_line("BRX R2 -0x10"))


def test_longest_way_of_nothing():
    assert longest_way([]) == 0


def test_covering_cases_have_all_pairs():
    def pairs(cases):
        return {pair for case in cases for pair in combinations(enumerate(case), 2)}

    chosen = covering_cases()
    assert pairs(chosen) == pairs(every_case())
    assert len(set(chosen)) == len(chosen) < 40


def test_resident_warps():
    assert resident_warps(64, "sm_75") == 32
    assert resident_warps(40, "sm_80") == 48
    assert resident_warps(41, "sm_80") == 40
    assert resident_warps(32, "sm_90") == 64


def test_reads_of_a_picture_that_is_not_turned():
    lines, amount = count_reads(1, 32, 4, 0)
    # 32 neighbours of 3 bytes lie 3 bytes apart: 94 bytes from first to last, in one line or two.
    assert 1 < lines < 2
    # 7 tiles across: 99 bytes or 4 sectors a row, the last one 96. 56 down: 5 rows, the last one 4.
    sectors, rows = (6 * 4 + 3) / 7, (55 * 5 + 4) / 56
    assert amount == pytest.approx(sectors * rows * 32 / 128)


def test_a_row_turned_upright_touches_a_line_for_each_pixel():
    lines, _ = count_reads(1, 32, 4, 90)
    assert 31 < lines <= 32
