"""What NUMBATORCH_CPU leaves of a processor is what LLVM then compiles for."""

import pytest

from numbatorch.language.processor import BUILT_ON, CPU, chosen
from tests.processors import PROCESSORS

NAMES = {*BUILT_ON, *" ".join(BUILT_ON.values()).split()}
ALL = CPU(
    "x86_64-unknown-linux-gnu",
    "x86-64",
    ",".join(f"+{name}" for name in ["sse2", *sorted(NAMES)]),
)
CHANGES = [f"native,-{name}" for name in sorted(NAMES)]
CHANGES += [f"x86-64-v2,+{name}" for name in sorted(NAMES)]


def known_to_llvm(features: str, names: list[str]) -> set[str]:
    """The features that LLVM has: a function is put into one that has all of its features."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    lines = [f'target triple = "{ALL.triple}"', "define i32 @caller(i32 %x) #99 {"]
    lines += [f"%y{i} = call i32 @needs{i}(i32 %x)" for i in range(len(names))]
    lines += ["ret i32 %x", "}", f'attributes #99 = {{ "target-features"="{features}" }}']
    for i, name in enumerate(names):
        # What is stored cannot be left out with a call whose result nobody needs.
        lines += [f"@place{i} = global i32 0", f"define internal i32 @needs{i}(i32 %x) #{i} {{"]
        lines += [f"store volatile i32 %x, ptr @place{i}", "ret i32 %x", "}"]
        lines.append(f'attributes #{i} = {{ "target-features"="+{name}" }}')
    module = llvm.parse_assembly("\n".join(lines))
    machine = llvm.Target.from_triple(ALL.triple).create_target_machine(cpu="x86-64")
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(2))
    builder.getModulePassManager().run(module, builder)
    text = str(module)
    return {name for i, name in enumerate(names) if f"@needs{i}(" not in text}


@pytest.mark.parametrize("text", CHANGES)
def test_llvm_has_the_features_that_are_said(text: str) -> None:
    cpu = chosen(ALL, text)
    names = sorted(NAMES)
    assert known_to_llvm(cpu.features, names) == {name for name in names if cpu.has(name)}


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
        ("znver3", "'znver3' is not native or a level of znver4"),
    ],
)
def test_a_setting_that_says_nothing_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^NUMBATORCH_CPU: {problem}"):
        chosen(PROCESSORS["znver4"], text)
