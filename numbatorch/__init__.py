"""numbatorch: tensors with PyTorch's spelling, Numba kernels, nothing but Python to build.

Importing this package loads neither a compiler nor a GPU library; kernels load when one runs.
"""

import numbatorch.starting  # noqa: F401  (an interrupt may come while the rest is imported)

# isort: split

import math
from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module
from numbatorch.determinism import (
    are_deterministic_algorithms_enabled,
    use_deterministic_algorithms,
)
from numbatorch.device import Device, device
from numbatorch.dtype import (
    DType,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float4_e2m1fn,
    float8_e4m3fn,
    float8_e4m3fnuz,
    float8_e5m2,
    float8_e5m2fnuz,
    float8_e8m0fnu,
    float16,
    float32,
    float64,
    int2,
    int4,
    int8,
    int16,
    int32,
    int64,
    uint2,
    uint4,
    uint8,
    uint16,
    uint32,
    uint64,
)
from numbatorch.errors import (
    BackendUnavailable,
    DeviceError,
    DivisionByZero,
    DTypeError,
    FormatError,
    GradientError,
    KernelError,
    LinAlgError,
    OutOfMemory,
    OutOfRange,
    ShapeError,
)
from numbatorch.graph import grad_enabled as is_grad_enabled
from numbatorch.ops import families
from numbatorch.settings import warn_of_unknown as _warn_of_unknown
from numbatorch.tensor import (
    GradientStore,
    Tensor,
    arange,
    as_tensor,
    asarray,
    empty,
    empty_like,
    empty_permuted,
    empty_strided,
    enable_grad,
    eye,
    fill,
    from_blocks,
    from_dlpack,
    from_numpy,
    frombuffer,
    full,
    full_like,
    grad,
    inference_mode,
    linspace,
    logspace,
    no_grad,
    ones,
    ones_like,
    quantize,
    realize,
    scalar_tensor,
    set_grad_enabled,
    tensor,
    tri,
    tril_indices,
    triu_indices,
    value_and_grad,
    zero_,
    zeros,
    zeros_like,
)
from numbatorch.tensor.draws import Generator
from numbatorch.tensor.random import (
    get_rng_state,
    initial_seed,
    manual_seed,
    normal,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    seed,
    set_rng_state,
)

if TYPE_CHECKING:
    from numbatorch import (
        autograd,
        distributions,
        fft,
        func,
        linalg,
        models,
        nn,
        optim,
        signal,
        special,
    )
    from numbatorch.functions import *  # noqa: F403
    from numbatorch.generation.chat import Chat
    from numbatorch.generation.text_generator import TextGenerator
    from numbatorch.io.tensors import load, save
    from numbatorch.limits import finfo, iinfo
    from numbatorch.pipelines.classifier import Classifier
    from numbatorch.pipelines.embedder import Embedder
    from numbatorch.pipelines.transcriber import Transcriber
    from numbatorch.tensor.capture import compile
    from numbatorch.tensor.checkpoint import checkpoint
    from numbatorch.tensor.printing import set_printoptions
    from numbatorch.tensor.resources import empty_cache, get_num_threads, set_num_threads
    from numbatorch.tensor.strides import as_strided
    from numbatorch.tensor.types import (
        can_cast,
        get_default_dtype,
        is_tensor,
        promote_types,
        result_type,
        set_default_dtype,
        typename,
    )
    from numbatorch.tensor.vmap import vmap

__version__ = "0.1.0"

# PyTorch's other names of dtypes, and numbers. A star import leaves those of Python alone.
bool = bool_
float, double, half = float32, float64, float16
short, int, long = int16, int32, int64
cfloat, cdouble = complex64, complex128
e, pi, inf, nan = math.e, math.pi, math.inf, math.nan
newaxis = None
Size: type[tuple[Any, ...]] = tuple  # what shapes are
_OTHER_NAMES = "cdouble cfloat double e float half inf int long nan newaxis pi short"

__all__ = [
    "BackendUnavailable",
    "Chat",
    "Classifier",
    "DType",
    "DTypeError",
    "Device",
    "DeviceError",
    "DivisionByZero",
    "Embedder",
    "FormatError",
    "Generator",
    "GradientError",
    "GradientStore",
    "KernelError",
    "LinAlgError",
    "OutOfMemory",
    "OutOfRange",
    "ShapeError",
    "Size",
    "Tensor",
    "TextGenerator",
    "Transcriber",
    "arange",
    "are_deterministic_algorithms_enabled",
    "as_strided",
    "as_tensor",
    "asarray",
    "autograd",
    "bfloat16",
    "bool",
    "bool_",
    "can_cast",
    "checkpoint",
    "compile",
    "complex64",
    "complex128",
    "device",
    "distributions",
    "empty",
    "empty_cache",
    "empty_like",
    "empty_permuted",
    "empty_strided",
    "enable_grad",
    "eye",
    "fft",
    "fill",
    "finfo",
    "float4_e2m1fn",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float16",
    "float32",
    "float64",
    "from_blocks",
    "from_dlpack",
    "from_numpy",
    "frombuffer",
    "full",
    "full_like",
    "func",
    "get_default_dtype",
    "get_num_threads",
    "get_rng_state",
    "grad",
    "iinfo",
    "inference_mode",
    "initial_seed",
    "int2",
    "int4",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "is_tensor",
    "linalg",
    "linspace",
    "load",
    "logspace",
    "manual_seed",
    "models",
    "nn",
    "no_grad",
    "normal",
    "ones",
    "ones_like",
    "optim",
    "promote_types",
    "quantize",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "realize",
    "result_type",
    "save",
    "scalar_tensor",
    "seed",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "set_printoptions",
    "set_rng_state",
    "signal",
    "special",
    "tensor",
    "tri",
    "tril_indices",
    "triu_indices",
    "typename",
    "uint2",
    "uint4",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "use_deterministic_algorithms",
    "value_and_grad",
    "vmap",
    "zero_",
    "zeros",
    "zeros_like",
]

# Modules and names that load on first use.
_LAZY_MODULES = (
    "array_api",
    "autograd",
    "debug",
    "distributions",
    "fft",
    "func",
    "generation",
    "hub",
    "io",
    "linalg",
    "models",
    "nn",
    "optim",
    "pipelines",
    "quantized",
    "signal",
    "special",
    "testing",
)
_LAZY_NAMES = {
    **dict.fromkeys(("finfo", "iinfo"), "numbatorch.limits"),
    **dict.fromkeys(("can_cast", "promote_types", "result_type"), "numbatorch.tensor.types"),
    **dict.fromkeys(("get_default_dtype", "set_default_dtype"), "numbatorch.tensor.types"),
    **dict.fromkeys(("is_tensor", "typename"), "numbatorch.tensor.types"),
    "Chat": "numbatorch.generation.chat",
    "Classifier": "numbatorch.pipelines.classifier",
    "Embedder": "numbatorch.pipelines.embedder",
    "TextGenerator": "numbatorch.generation.text_generator",
    "Transcriber": "numbatorch.pipelines.transcriber",
    "as_strided": "numbatorch.tensor.strides",
    "checkpoint": "numbatorch.tensor.checkpoint",
    "compile": "numbatorch.tensor.capture",
    "empty_cache": "numbatorch.tensor.resources",
    "get_num_threads": "numbatorch.tensor.resources",
    "load": "numbatorch.io.tensors",
    "save": "numbatorch.io.tensors",
    "set_num_threads": "numbatorch.tensor.resources",
    "set_printoptions": "numbatorch.tensor.printing",
    "vmap": "numbatorch.tensor.vmap",
}


_warn_of_unknown()
_function, _functions = families.namespace("nt", globals())


def __dir__() -> list[str]:
    """Names for users: what stands in `__all__`, modules, and functions of tensors."""
    return sorted({*__all__, *_OTHER_NAMES.split(), *_LAZY_MODULES, "__version__", *_functions()})


def __getattr__(name: str) -> Any:
    """Modules and names that load on first use, then functions of tensors: nt.exp, a user's own."""
    if name in _LAZY_MODULES:
        return import_module(f"numbatorch.{name}")
    if name in _LAZY_NAMES:
        value = globals()[name] = getattr(import_module(_LAZY_NAMES[name]), name)
        return value
    return _function(name)
