"""The namespace of the Python array API standard: `x.__array_namespace__()` of its arrays.

https://data-apis.org/array-api/2025.12/
"""

import math

from numbatorch.array_api import fft as fft
from numbatorch.array_api import linalg as linalg
from numbatorch.array_api import operators as operators
from numbatorch.array_api.array import VERSION as __array_api_version__  # noqa: F401
from numbatorch.array_api.array import Array as Array
from numbatorch.array_api.creation import *  # noqa: F403
from numbatorch.array_api.creation import __array_namespace_info__  # noqa: F401
from numbatorch.array_api.elementwise import *  # noqa: F403
from numbatorch.array_api.linalg import matmul as matmul
from numbatorch.array_api.linalg import tensordot as tensordot
from numbatorch.array_api.linalg import vecdot as vecdot
from numbatorch.array_api.reducing import *  # noqa: F403
from numbatorch.array_api.shaping import *  # noqa: F403

e, pi, inf, nan = math.e, math.pi, math.inf, math.nan
newaxis = None
