"""Changes after which a compiled function must give other values.

Each is a program, what the function computes from `x`, and a change that this value depends on.
"""

CODE = {
    "default argument": (
        "def f(x, c=2.0): return x * c",
        "f(x)",
        "f.__defaults__ = (3.0,)",
    ),
    "default of a keyword": (
        "def f(x, *, c=2.0): return x * c",
        "f(x)",
        "f.__kwdefaults__ = {'c': 3.0}",
    ),
    "default of a keyword, in place": (
        "def f(x, *, c=2.0): return x * c",
        "f(x)",
        "f.__kwdefaults__.update(c=3.0)",
    ),
    "mutable default": ("def f(x, c=[2.0]): return x * c[0]", "f(x)", "f.__defaults__[0][0] = 3.0"),
    "code": ("def f(x): return x * 2", "f(x)", "f.__code__ = (lambda x: x * 5).__code__"),
    "own code": ("", "x * 2", "function.__code__ = (lambda x: x * 5).__code__"),
    "attribute of a function": (
        "def f(x): return x * f.scale\nf.scale = 2.0",
        "f(x)",
        "f.scale = 3.0",
    ),
    "environment": ("os.environ['A'] = '2'", "x * float(os.environ['A'])", "os.environ['A'] = '3'"),
    "environment by a function": ("", "x * float(os.getenv('A', '2'))", "os.environ['A'] = '3'"),
    "environment by its name": (
        "from os import environ as e\ne['A'] = '2'",
        "x * float(e['A'])",
        "e['A'] = '3'",
    ),
    "environment by a function's name": (
        "from os import getenv as g",
        "x * float(g('A', '2'))",
        "os.environ['A'] = '3'",
    ),
    "environment in an import": (
        "def f(x):\n    import os as o\n    return x * float(o.environ.get('A', '2'))",
        "f(x)",
        "os.environ['A'] = '3'",
    ),
    "module that is imported in a function": (
        "import module_of_cases as other\nother.scale = 2.0\n"
        "def f(x):\n    import module_of_cases\n    return x * module_of_cases.scale",
        "f(x)",
        "other.scale = 3.0",
    ),
    "name that is imported in a function": (
        "import module_of_cases as other\nother.scale = 2.0\n"
        "def f(x):\n    from module_of_cases import scale\n    return x * scale",
        "f(x)",
        "other.scale = 3.0",
    ),
    "module by a text": (
        "import module_of_cases as other\nother.scale = 2.0",
        "x * sys.modules['module_of_cases'].scale",
        "other.scale = 3.0",
    ),
    "module that is imported by a text": (
        "import module_of_cases as other\nfrom importlib import import_module\nother.scale = 2.0",
        "x * import_module('module_of_cases').scale",
        "other.scale = 3.0",
    ),
    "arguments of the program": (
        "sys.argv.append('2')",
        "x * float(sys.argv[-1])",
        "sys.argv[-1] = '3'",
    ),
    "global that was not there": ("", "x * globals().get('c', 2.0)", "c = 3.0"),
    "global that was missed": (
        "def f(x):\n    try: return x * c\n    except NameError: return x",
        "f(x)",
        "c = 3.0",
    ),
    "global by a computed name": ("c1 = 2.0", "x * globals()['c' + '1']", "c1 = 3.0"),
    "global in evaluated code": ("c = 2.0", "x * eval('c * 1')", "c = 3.0"),
    "global that is deleted": ("abs = lambda v: 5.0", "x * abs(-2.0)", "del abs"),
    "global over a builtin": ("", "x * abs(-2.0)", "abs = lambda v: 5.0"),
    "attribute in a pattern": (
        "box = Box()\ndef f(x):\n    match box:\n        case Box(scale=c): return x * c",
        "f(x)",
        "box.scale = 3.0",
    ),
    "attribute in a pattern without its name": (
        "class A: __match_args__ = ('c',)\na = A()\na.c = 2.0\n"
        "def f(x):\n    match a:\n        case A(c): return x * c",
        "f(x)",
        "a.c = 3.0",
    ),
    "rate of an optimizer": (
        "o = nt.optim.SGD([nn.Parameter(ones(2))], lr=0.5)",
        "x * o.param_groups[0]['lr']",
        "o.param_groups[0]['lr'] = 0.25",
    ),
    "local variable of an attribute's name": (
        "box = Box()\ndef f(x):\n    scale = box.scale * 2\n    return x * scale",
        "f(x)",
        "box.scale = 3.0",
    ),
    "local variable of an attribute's name in a module": (
        "class Gain(nn.Module):\n"
        "    def __init__(self): self.gain = 2.0\n"
        "    def forward(self, x):\n        gain = self.gain * 2\n        return x * gain\n"
        "net = Gain()",
        "net(x)",
        "net.gain = 3.0",
    ),
    "counter that is read as it counts": (
        "c = 1\ndef f(x):\n    global c\n    c = n = c + 1\n    return x * n",
        "f(x)",
        "c = 7",
    ),
    "method add": (
        "class Adder:\n    def add(self, x): return x + self.bias\na = Adder()\na.bias = 1.0",
        "a.add(x)",
        "a.bias = 2.0",
    ),
    "tensor that is added to": ("w = ones(2)", "w.add(x)", "w = ones(2) * 5"),
    "tensor of an object that is added to": (
        "box = Box()\nbox.w = ones(2)",
        "box.w.add(x)",
        "box.w = ones(2) * 5",
    ),
    "global that a constructor reads": (
        "c = 2.0\nclass A:\n    def __init__(self): self.c = c",
        "x * A().c",
        "c = 3.0",
    ),
    "global that another's constructor reads": (
        "c = 2.0\nclass A:\n    def __init__(self): self.c = c\na = A()",
        "x * type(a)().c",
        "c = 3.0",
    ),
    "default of a constructor": (
        "class A:\n    def __init__(self, c=2.0): self.c = c",
        "x * A().c",
        "A.__init__.__defaults__ = (3.0,)",
    ),
    "constructor": (
        "class A:\n    def __init__(self): self.c = 2.0",
        "x * A().c",
        "A.__init__ = lambda self: setattr(self, 'c', 3.0)",
    ),
    "global that a dataclass reads when it is made": (
        "c = 2.0\n@dataclass\nclass A:\n    v: float = 0.0\n"
        "    def __post_init__(self): self.v = c",
        "x * A().v",
        "c = 3.0",
    ),
    "keyword of a partial": (
        "p = functools.partial(lambda x, c: x * c, c=2.0)",
        "p(x)",
        "p.keywords['c'] = 3.0",
    ),
    "all of a partial": (
        "p = functools.partial(lambda c, x: x * c, 2.0)",
        "p(x)",
        "p.__setstate__((p.func, (3.0,), {}, {}))",
    ),
    "attribute of a partial": (
        "p = functools.partial(lambda x: x)\np.scale = 2.0",
        "p(x) * p.scale",
        "p.scale = 3.0",
    ),
    "argument of a partial method": (
        "class A:\n    c = [2.0]\n    m = functools.partialmethod(lambda self, c, x: x * c[0], c)",
        "A().m(x)",
        "A.c[0] = 3.0",
    ),
    "dispatch by a type": (
        "@functools.singledispatch\ndef f(v): return 2.0",
        "x * f(1)",
        "f.register(int, lambda v: 3.0)",
    ),
    "function that remembers": (
        "c = 2.0\n@functools.lru_cache\ndef f(): return c",
        "x * f()",
        "c = 3.0\nf.cache_clear()",
    ),
    "variable of a context": (
        "from contextvars import ContextVar\nv = ContextVar('v', default=2.0)",
        "x * v.get()",
        "v.set(3.0)",
    ),
    "variable of a thread": (
        "v = threading.local()\nv.scale = 2.0",
        "x * v.scale",
        "v.scale = 3.0",
    ),
    "event": ("e = threading.Event()", "x * (2 if e.is_set() else 3)", "e.set()"),
    "getter of an attribute": (
        "box = Box()\nget = operator.attrgetter('sca' + 'le')",
        "x * get(box)",
        "box.scale = 3.0",
    ),
    "caller of a method": (
        "box = Box()\ncall = operator.methodcaller('tim' + 'es', 2)",
        "x * call(box)",
        "box.scale = 3.0",
    ),
    "method by a computed name": (
        "box = Box()",
        "getattr(box, 'tim' + 'es')(x)",
        "Box.times = lambda self, x: x * 7",
    ),
    "default device": (
        "",
        "x * len(str(nt.ones(1).device))",
        "os.environ['NUMBATORCH_DEVICE'] = 'numpy'",
    ),
    "deterministic algorithms": (
        "",
        "x * (2 if nt.are_deterministic_algorithms_enabled() else 3)",
        "nt.use_deterministic_algorithms(True)",
    ),
    "default dtype": (
        "",
        "x + nt.ones(1).element_size()",
        "nt.set_default_dtype(nt.float64)",
    ),
    "level of a logger": (
        "import logging\nlog = logging.getLogger('cases')\nlog.setLevel(10)",
        "x * log.level",
        "log.setLevel(20)",
    ),
}

_PAIR = "class A:\n    def f(self, x): return x * 2\nclass B:\n    def f(self, x): return x * 3\n"
_SLOTS = _PAIR.replace(":\n    def", ":\n    __slots__ = ('v',)\n    def")

OBJECTS = {
    "one attribute goes, another comes": (
        "box = Box()\nbox.a = 1",
        "x * (2 if hasattr(box, 'a') else 3)",
        "del box.a\nbox.b = 1",
    ),
    "order of attributes": (
        "box = Box()\nbox.a = 5.0",
        "x * next(iter(vars(box).values()))",
        "v = box.scale\ndel box.scale\nbox.scale = v",
    ),
    "attribute gives way to the class's": ("box = Box()", "x * box.scale", "del box.scale"),
    "method": ("box = Box()", "box.times(x)", "Box.times = lambda self, x: x * 7"),
    "inherited method": (
        "class Heir(Box): pass\nbox = Heir()",
        "box.times(x)",
        "Box.times = lambda self, x: x * 7",
    ),
    "method that was inherited": (
        "class Heir(Box): pass\nbox = Heir()",
        "box.times(x)",
        "Heir.times = lambda self, x: x * 7",
    ),
    "method of one object": ("box = Box()", "box.times(x)", "box.times = lambda x: x * 7"),
    "method by super": (
        "c = 2.0\nclass A:\n    def f(self, x): return x * c\n"
        "class B(A):\n    def f(self, x): return super().f(x)\nb = B()",
        "b.f(x)",
        "c = 3.0",
    ),
    "what an object is as a function": (
        "class A:\n    def __call__(self, x): return x * 2\na = A()",
        "a(x)",
        "A.__call__ = lambda self, x: x * 3",
    ),
    "item of an object": (
        "class A:\n    def __getitem__(self, i): return 2.0\na = A()",
        "x * a[0]",
        "A.__getitem__ = lambda self, i: 3.0",
    ),
    "product with an object": (
        "class A:\n    def __rmul__(self, x): return x * 2.0\na = A()",
        "x * a",
        "A.__rmul__ = lambda self, x: x * 3.0",
    ),
    "special method that was not there": (
        "class A: pass\na = A()",
        "x * (2 if a else 3)",
        "A.__bool__ = lambda self: False",
    ),
    "text of an object": (
        "c = '2'\nclass A:\n    def __str__(self): return c\na = A()",
        "x * float(str(a))",
        "c = '3'",
    ),
    "attribute that is set": (
        "c = 2.0\nclass A:\n    def __setattr__(self, k, v): object.__setattr__(self, k, v * c)\n"
        "a = A()\ndef f(x):\n    a.v = 1.0\n    return x * a.v",
        "f(x)",
        "c = 3.0",
    ),
    "class": (_PAIR + "a = A()", "a.f(x)", "a.__class__ = B"),
    "class with slots": (_SLOTS + "a = A()", "a.f(x)", "a.__class__ = B"),
    "class of a module": (
        _PAIR.replace(":\n    def f", "(nn.Module):\n    def forward") + "a = A()",
        "a(x)",
        "a.__class__ = B",
    ),
    "bases of a class": (
        _PAIR.replace("class A", "class R: pass\nclass A(R)").replace("class B", "class B(R)")
        + "class C(A): pass\nc = C()",
        "c.f(x)",
        "C.__bases__ = (B,)",
    ),
    "attribute of the class of a class": (
        "class M(type): c = 2.0\nclass A(metaclass=M): pass",
        "x * A.c",
        "M.c = 3.0",
    ),
    "property": (
        "class A:\n    @property\n    def c(self): return 2.0\na = A()",
        "x * a.c",
        "A.c = property(lambda self: 3.0)",
    ),
    "property that is kept": (
        "class A:\n    v = 2.0\n    @functools.cached_property\n    def c(self): return self.v\n"
        "a = A()",
        "x * a.c",
        "a.v = 3.0\ndel a.c",
    ),
    "descriptor": (
        "class D:\n    c = 2.0\n    def __get__(self, of, kind): return self.c\n"
        "class A: c = D()\na = A()",
        "x * a.c",
        "vars(A)['c'].c = 3.0",
    ),
    "field of a dataclass": (
        "@dataclass(slots=True)\nclass A: c: float = 2.0\na = A()",
        "x * a.c",
        "a.c = 3.0",
    ),
    "list in a frozen dataclass": (
        "@dataclass(frozen=True, slots=True)\nclass A: c: list\na = A([2.0])",
        "x * a.c[0]",
        "a.c[0] = 3.0",
    ),
    "equal dataclasses": (
        "@dataclass\nclass A: c: float = 2.0\na, b = A(), A()",
        "x * (2 if a == b else 3)",
        "b.c = 3.0",
    ),
    "dataclass as a tuple": (
        "@dataclass\nclass A: c: float = 2.0\na = A()",
        "x * dataclasses.astuple(a)[0]",
        "a.c = 3.0",
    ),
    "private slot": (
        "class A:\n    __slots__ = ('__c',)\n    def get(self): return self.__c\n"
        "    def put(self, c): self.__c = c\na = A()\na.put(2.0)",
        "x * a.get()",
        "a.put(3.0)",
    ),
    "attribute of a list": ("class A(list): pass\na = A()\na.c = 2.0", "x * a.c", "a.c = 3.0"),
    "method of a list": (
        "c = 2.0\nclass A(list):\n    def f(self): return c\na = A()",
        "x * a.f()",
        "c = 3.0",
    ),
    "attribute of a dict": ("class A(dict): pass\na = A()\na.c = 2.0", "x * a.c", "a.c = 3.0"),
    "attribute of a number": (
        "class A(float): pass\na = A(1.0)\na.c = 2.0",
        "x * a.c",
        "a.c = 3.0",
    ),
    "method of a named tuple": (
        "c = 2.0\nclass A(collections.namedtuple('T', 'v')):\n    def f(self): return c * self.v\n"
        "a = A(1.0)",
        "x * a.f()",
        "c = 3.0",
    ),
    "attribute of a member of an enum": (
        "class E(enum.Enum): A = 1\nE.A.c = 2.0",
        "x * E.A.c",
        "E.A.c = 3.0",
    ),
    "method of an enum": (
        "c = 2.0\nclass E(enum.Enum):\n    A = 1\n    def f(self): return c\ne = E.A",
        "x * e.f()",
        "c = 3.0",
    ),
    "order of a dict": (
        "d = {'a': 2.0, 'b': 3.0}",
        "x * next(iter(d.values()))",
        "d['a'] = d.pop('a')",
    ),
    "keys of a dict": ("d = {2.0: 1}\nk = d.keys()", "x * max(k)", "d[3.0] = 1"),
    "items of a dict": ("d = {'a': 2.0}\nk = d.items()", "x * dict(k)['a']", "d['a'] = 3.0"),
    "proxy of a dict": (
        "d = {'a': 2.0}\nk = types.MappingProxyType(d)",
        "x * k['a']",
        "d['a'] = 3.0",
    ),
    "chain of dicts": (
        "d = {'a': 2.0}\nk = collections.ChainMap({}, d)",
        "x * k['a']",
        "d['a'] = 3.0",
    ),
    "dict in Python": ("d = collections.UserDict(a=2.0)", "x * d['a']", "d['a'] = 3.0"),
    "list in Python": ("d = collections.UserList([2.0])", "x * d[0]", "d[0] = 3.0"),
    "default of a dict": (
        "d = collections.defaultdict(lambda: 2.0)\ndef f(x):\n    d.clear()\n    return x * d['a']",
        "f(x)",
        "d.default_factory = lambda: 3.0",
    ),
    "int for a float": (
        "c, i = [2], nt.tensor([3, 4], device='cpu')",
        "x * (2 if (i * c[0]).dtype is nt.int64 else 3)",
        "c[0] = 2.0",
    ),
    "bytes": ("b = bytearray([2])", "x * b[0]", "b[0] = 3"),
    "array of Python": ("import array\nb = array.array('d', [2.0])", "x * b[0]", "b[0] = 3.0"),
    "view of memory": ("b = memoryview(bytearray([2]))", "x * b[0]", "b[0] = 3"),
    "number of C": ("import ctypes\nb = ctypes.c_double(2.0)", "x * b.value", "b.value = 3.0"),
    "shape of an array": ("a = np.ones((2, 3))", "x * a.shape[0]", "a.shape = 3, 2"),
    "type of an array": ("a = np.ones(2)", "x * a.view(a.dtype).sum()", "a.dtype = np.int64"),
    "array that others write to": (
        "a = np.ones(2, np.float32)\nv = a[:]\nv.flags.writeable = False",
        "x * nt.tensor(v, device='cpu')",
        "a.fill(3)",
    ),
    "array that repeats another": (
        "a = np.ones(1, np.float32)\nv = np.broadcast_to(a, 2)",
        "x * nt.tensor(v.copy(), device='cpu')",
        "a.fill(3)",
    ),
    "array of objects": (
        "a = np.empty((1, 1), object)\na[0, 0] = [2.0]",
        "x * a[0, 0][0]",
        "a[0, 0][0] = 3.0",
    ),
    "proxy of an object": (
        "box = Box()\np = weakref.proxy(box)",
        "x * p.scale",
        "box.scale = 3.0",
    ),
    "object that is held weakly": (
        "box, other = Box(), Box(3.0)\nd = weakref.WeakValueDictionary(a=box)",
        "x * d['a'].scale",
        "d['a'] = other",
    ),
    "value as text": ("t = nt.tensor(2.0, device='cpu')", "x * float(f'{t:.1f}')", "t.fill_(3.0)"),
}
