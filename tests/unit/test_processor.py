"""What NUMBATORCH_CPU leaves of a processor is what LLVM then compiles for."""

import pytest

from numbatorch.language import processor
from numbatorch.language.processor import CPU, built_on, chosen
from numbatorch.language.simd.pairs import multiplies_pairs, multiplies_vectors
from tests.processors import PROCESSORS

# A processor of each architecture that has every feature that something is built on or that is
# built on one, a name that has none of these by itself, and what to leave out so that none is left.
TRIPLES = {
    "x86-64": ("x86_64-unknown-linux-gnu", "x86-64", ""),
    "aarch64": ("aarch64-unknown-linux-gnu", "generic", "-fp-armv8,"),
}


def names_of(architecture: str) -> list[str]:
    table = built_on(CPU(TRIPLES[architecture][0], "", ""))
    return sorted({*table, *" ".join(table.values()).split()})


def with_all(architecture: str) -> CPU:
    triple, name, _ = TRIPLES[architecture]
    first = ["sse2"] if architecture == "x86-64" else []
    return CPU(triple, name, ",".join(f"+{name}" for name in first + names_of(architecture)))


CHANGES = [("x86-64", f"native,-{name}") for name in names_of("x86-64")]
CHANGES += [("x86-64", f"x86-64-v2,+{name}") for name in names_of("x86-64")]
NONE = ",".join(f"-{name}" for name in names_of("aarch64"))
CHANGES += [("aarch64", f"native,-{name}") for name in names_of("aarch64")]
CHANGES += [("aarch64", f"native,{NONE},+{name}") for name in names_of("aarch64")]


def known_to_llvm(architecture: str, features: str, names: list[str], native: str = "") -> set[str]:
    """The features that LLVM has: a function is put into one that has all of its features.

    Args:
        native: name of a processor, which has features without that they are said.
    """
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple, cpu, base = TRIPLES[architecture]
    cpu, base = native or cpu, "" if native else base
    lines = [f'target triple = "{triple}"', "define i32 @caller(i32 %x) #99 {"]
    lines += [f"%y{i} = call i32 @needs{i}(i32 %x)" for i in range(len(names))]
    lines += ["ret i32 %x", "}", f'attributes #99 = {{ "target-features"="{features}" }}']
    for i, name in enumerate(names):
        # What is stored cannot be left out with a call whose result nobody needs.
        lines += [f"@place{i} = global i32 0", f"define internal i32 @needs{i}(i32 %x) #{i} {{"]
        lines += [f"store volatile i32 %x, ptr @place{i}", "ret i32 %x", "}"]
        lines.append(f'attributes #{i} = {{ "target-features"="{base}+{name}" }}')
    module = llvm.parse_assembly("\n".join(lines))
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))
    builder.getModulePassManager().run(module, builder)
    text = str(module)
    return {name for i, name in enumerate(names) if f"@needs{i}(" not in text}


@pytest.mark.parametrize(
    ("architecture", "text"), CHANGES, ids=[f"{x[0]} {x[1].rpartition(',')[2]}" for x in CHANGES]
)
def test_llvm_has_the_features_that_are_said(architecture: str, text: str) -> None:
    cpu = chosen(with_all(architecture), text)
    names = names_of(architecture)
    found = known_to_llvm(architecture, cpu.features, names)
    assert found == {name for name in names if cpu.has(name)}


def test_linux_tells_of_features_of_arm_by_names_that_llvm_knows() -> None:
    """Features of a Neoverse V1, as /proc/cpuinfo has them, and what LLVM says of that name."""
    told = (
        "processor\t: 0\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 "
        "crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 asimddp sha512 sve "
        "asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg dcpodp svei8mm svebf16 i8mm bf16 dgh\n"
    )
    features = processor.with_linux("+neon,+sve", told)
    added = [part[1:] for part in features.split(",")][2:]
    assert {"dotprod", "i8mm", "bf16", "fullfp16"} <= {*added} and "" not in added
    assert features.startswith("+neon,+sve,+") and features.count("+sve") == 1
    assert known_to_llvm("aarch64", "", added, "neoverse-v1") == {*added}
    assert known_to_llvm("aarch64", "", added, "generic") == set()


PAIRS = [
    ("znver4", "native", True),
    ("znver4", "x86-64-v4", False),
    ("znver4", "x86-64-v4,+avx512bf16", True),
    ("znver4", "native,-avx512bf16", False),
    ("znver4", "native,-avx512f", False),
    ("sapphirerapids", "native,-amx-tile", False),
    ("sapphirerapids", "native,-amx-tile,+avx512bf16", True),
    ("sapphirerapids", "x86-64-v4,+avx512bf16", True),
    ("sapphirerapids", "x86-64-v4", False),
]


@pytest.mark.parametrize(("name", "text", "there"), PAIRS)
def test_vectors_of_pairs_are_for_amd_and_for_who_asks(name: str, text: str, there: bool) -> None:
    cpu = chosen(PROCESSORS[name], text)
    assert multiplies_vectors(cpu) == multiplies_pairs(cpu) == there


def test_what_is_built_on_a_feature_goes_with_it() -> None:
    cpu = chosen(PROCESSORS["znver4"], "native,-avx512f")
    assert "+avx512" not in cpu.features and cpu.has("avx2")
    assert chosen(PROCESSORS["znver4"], "x86-64-v2,+avx2").has("avx")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("native,-axv512f", "there is no axv512f to leave out"),
        ("native,+amx-tile", "znver4 has no amx-tile"),
        ("native,avx2", "'avx2' does not begin with"),
        ("znver3", "'znver3' is none of native, x86-64, x86-64-v2, x86-64-v3, x86-64-v4"),
    ],
)
def test_a_setting_that_says_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^NUMBATORCH_CPU: {problem}"):
        chosen(PROCESSORS["znver4"], text)


def test_on_arm_there_are_no_levels() -> None:
    machine = processor.CPU("aarch64-unknown-linux-gnu", "neoverse-v1", "+neon")
    with pytest.raises(ValueError, match=r"^NUMBATORCH_CPU: 'x86-64' is none of native\n"):
        chosen(machine, "x86-64")


def test_features_without_a_name_are_those_of_native() -> None:
    machine = PROCESSORS["znver4"]
    assert chosen(machine, "-avx512f") == chosen(machine, "native,-avx512f")
    assert chosen(machine, "l2=1M, -avx2,+fma") == chosen(machine, "native,-avx2,+fma")
    assert not chosen(machine, "-avx512f").has("avx512f")


def test_the_lowest_level_has_vectors_of_128_bits_alone() -> None:
    cpu = chosen(PROCESSORS["znver4"], "x86-64")
    assert cpu.has("sse2") and not cpu.has("sse3") and not cpu.has("avx")
