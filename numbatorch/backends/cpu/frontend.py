"""What of Numba's front end kernels go through: the passes and rules that their language needs.

They have no closures, generators, `with` blocks, parallel loops or operands that are arrays, so the
passes and NumPy's rules for such would look at every line and find nothing.
"""

from typing import Any

from numba.core import typed_passes, types, untyped_passes
from numba.core.compiler import CompilerBase
from numba.core.compiler_machinery import PassManager
from numba.core.typing.context import Context

PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.DeadBranchPrune,  # of conditions on constants
    untyped_passes.GenericRewrites,  # elements of tuples by constants
    untyped_passes.FindLiterallyCalls,
    untyped_passes.ReconstructSSA,
    untyped_passes.DeadBranchPrune,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.NoPythonSupportedFeatureValidation,
    typed_passes.IRLegalization,
    typed_passes.AnnotateTypes,
    typed_passes.NativeLowering,
    typed_passes.NoPythonBackend,
)


class Compiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler with the passes that kernels need."""

    def define_pipelines(self) -> list[PassManager]:
        """One pipeline."""
        passes = PassManager("kernel")
        for each in PASSES:
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


class TypingContext(Context):  # type: ignore[misc]
    """Numba's typing, which remembers what an operator or a word gives for types."""

    def __init__(self, shared: Context) -> None:
        self.__dict__ = dict(shared.__dict__)
        self._known: dict[Any, Any] = {}

    def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
        """The signature of a call; each that has been found before is asked for no more."""
        if kws or not isinstance(func, types.Function):
            return super().resolve_function_type(func, args, kws)
        key = (func, args)
        if key not in self._known:
            found = super().resolve_function_type(func, args, kws)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]
