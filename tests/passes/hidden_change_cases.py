"""Changes, as in `change_cases`, of what no attribute shows: in C, of Python's and NumPy's."""

HIDDEN = {
    "what a logger is on for": (
        "import logging\nlog = logging.getLogger('cases.inner')\nlog.parent.setLevel(30)",
        "x * (2 if log.isEnabledFor(10) else 3)",
        "log.parent.setLevel(10)",
    ),
    "subclass that is registered": (
        "import abc\nclass A(abc.ABC): pass\nbox = Box()",
        "x * (2 if isinstance(box, A) else 3)",
        "A.register(Box)",
    ),
    "variable of a function of a module": (
        "c = {'scale': 2.0}\nm = types.ModuleType('m')\nm.__getattr__ = lambda name: c[name]",
        "x * m.scale",
        "c['scale'] = 3.0",
    ),
    "attribute that a function of a module stood for": (
        "m = types.ModuleType('m')\nm.__getattr__ = lambda name: 2.0",
        "x * m.scale",
        "m.scale = 3.0",
    ),
    "global of a function that NumPy repeats": (
        "c = 2.0\nf = np.vectorize(lambda t: t * c)",
        "x * float(f(1.0))",
        "c = 3.0",
    ),
    "seed": (
        "g = nt.Generator().manual_seed(2)",
        "x * g.initial_seed()",
        "g.manual_seed(3)",
    ),
    "bytes of a class": ("class A(bytearray): pass\nb = A([2])", "x * b[0]", "b[0] = 3"),
    "array of a class": (
        "import array\nclass A(array.array): pass\nb = A('d', [2.0])",
        "x * b[0]",
        "b[0] = 3.0",
    ),
    "structure of C": (
        "import ctypes\nclass A(ctypes.Structure): _fields_ = [('c', ctypes.c_double)]\nb = A(2.0)",
        "x * b.c",
        "b.c = 3.0",
    ),
    "text in memory": (
        "import io\nb = io.StringIO('2')",
        "x * float(b.getvalue())",
        "b.write('3')",
    ),
    "bytes in memory": (
        "import io\nb = io.BytesIO(b'2')",
        "x * float(b.getvalue())",
        "b.write(b'3')",
    ),
    "context of decimal numbers": (
        "import decimal\nc = decimal.Context(prec=2)",
        "x * float(c.divide(decimal.Decimal(2), decimal.Decimal(3)))",
        "c.prec = 3",
    ),
    "distribution": (
        "import statistics\nn = statistics.NormalDist(2.0)",
        "x * n.mean",
        "n._mu = 3.0",
    ),
    "polynomial": ("p = np.poly1d([1.0, 2.0])", "x * float(p(1.0))", "p[0] = 9.0"),
}
