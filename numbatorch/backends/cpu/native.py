"""A function for CPython, compiled like a kernel: it patches words and runs launches in one call.

Called through ctypes, a launch costs more than many a kernel takes. LLVM makes this one with the
calling convention of CPython's own functions, so no compiler for C is needed:
https://docs.python.org/3/c-api/structures.html#c.METH_FASTCALL
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from types import FunctionType

from numbatorch.backends.cpu import pack
from numbatorch.errors import KernelError
from numbatorch.language.kernel import KernelSpec, digest

# Words of the header that a call reads: rows to run and where, of these those before the check of
# statuses, where statuses lie and how many words they are, then how many moves and where. Instead
# of rows that it runs itself a team's function and its state, and how many rows the team runs; then
# statuses are checked.
COUNT, ROWS, CHECKED, STATUS, STATUS_WORDS, MOVES, MOVES_AT, TEAM, STATE, TEAM_COUNT, HEADER = (
    range(11)
)
# A move: number of the argument, address of the word, factor, what is added, and whether the word
# itself is added too.
MOVE = 5
DONE, FAILED = 0, 1  # what a call gives: FAILED if a status is not zero

_ROW_BYTES = 64

_TEXT = """
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLong(i64)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define internal i64 @word(ptr %at, i64 %index) alwaysinline {{
  %place = getelementptr i64, ptr %at, i64 %index
  %value = load i64, ptr %place
  ret i64 %value
}}

define internal i1 @failed(ptr %at, i64 %count) alwaysinline {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %body]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %body, label %clean
body:
  %status = call i64 @word(ptr %at, i64 %i)
  %next = add i64 %i, 1
  %is_set = icmp ne i64 %status, 0
  br i1 %is_set, label %found, label %head
found:
  ret i1 true
clean:
  ret i1 false
}}

define ptr @{symbol}(ptr %self, ptr %args, i64 %n) {{
entry:
  %first = load ptr, ptr %args
  %header_at = call i64 @PyLong_AsLongLong(ptr %first)
  %header = inttoptr i64 %header_at to ptr
  %values = alloca i64, i64 %n
  br label %convert
convert:
  %i = phi i64 [1, %entry], [%i_next, %converted]
  %more_arguments = icmp slt i64 %i, %n
  br i1 %more_arguments, label %converted, label %patch
converted:
  %argument_at = getelementptr ptr, ptr %args, i64 %i
  %argument = load ptr, ptr %argument_at
  %number = call i64 @PyLong_AsLongLong(ptr %argument)
  %value_at = getelementptr i64, ptr %values, i64 %i
  store i64 %number, ptr %value_at
  %i_next = add i64 %i, 1
  br label %convert
patch:
  %moves = call i64 @word(ptr %header, i64 {MOVES})
  %moves_at = call i64 @word(ptr %header, i64 {MOVES_AT})
  br label %move_head
move_head:
  %m = phi i64 [0, %patch], [%m_next, %move]
  %more_moves = icmp slt i64 %m, %moves
  br i1 %more_moves, label %move, label %run
move:
  %move_offset = mul i64 %m, {move_bytes}
  %move_at = add i64 %moves_at, %move_offset
  %move_ptr = inttoptr i64 %move_at to ptr
  %which = call i64 @word(ptr %move_ptr, i64 0)
  %word_at = call i64 @word(ptr %move_ptr, i64 1)
  %factor = call i64 @word(ptr %move_ptr, i64 2)
  %offset = call i64 @word(ptr %move_ptr, i64 3)
  %adds = call i64 @word(ptr %move_ptr, i64 4)
  %given = call i64 @word(ptr %values, i64 %which)
  %scaled = mul i64 %given, %factor
  %moved = add i64 %scaled, %offset
  %word_ptr = inttoptr i64 %word_at to ptr
  %before = load i64, ptr %word_ptr
  %kept = mul i64 %before, %adds
  %patched = add i64 %moved, %kept
  store i64 %patched, ptr %word_ptr
  %m_next = add i64 %m, 1
  br label %move_head
run:
  %count = call i64 @word(ptr %header, i64 {COUNT})
  %rows = call i64 @word(ptr %header, i64 {ROWS})
  %checked = call i64 @word(ptr %header, i64 {CHECKED})
  %status_at = call i64 @word(ptr %header, i64 {STATUS})
  %status = inttoptr i64 %status_at to ptr
  %status_words = call i64 @word(ptr %header, i64 {STATUS_WORDS})
  br label %row_head
row_head:
  %r = phi i64 [0, %run], [%r_next, %row]
  %is_checked = icmp eq i64 %r, %checked
  br i1 %is_checked, label %check, label %row_test
check:
  %bad = call i1 @failed(ptr %status, i64 %status_words)
  br i1 %bad, label %give_failed, label %row_test
row_test:
  %more_rows = icmp slt i64 %r, %count
  br i1 %more_rows, label %row, label %rows_done
row:
  %row_offset = mul i64 %r, {row_bytes}
  %row_at = add i64 %rows, %row_offset
  %row_ptr = inttoptr i64 %row_at to ptr
  %function_at = call i64 @word(ptr %row_ptr, i64 0)
  %block = call i64 @word(ptr %row_ptr, i64 1)
  %function = inttoptr i64 %function_at to ptr
  call void %function(i64 %block, i64 0, i64 1)
  %r_next = add i64 %r, 1
  br label %row_head
rows_done:
  %team_at = call i64 @word(ptr %header, i64 {TEAM})
  %has_team = icmp ne i64 %team_at, 0
  br i1 %has_team, label %on_team, label %give_done
on_team:
  %team = inttoptr i64 %team_at to ptr
  %state = call i64 @word(ptr %header, i64 {STATE})
  %team_count = call i64 @word(ptr %header, i64 {TEAM_COUNT})
  %thread = call ptr @PyEval_SaveThread()
  call void %team(i64 %state, i64 %rows, i64 %team_count)
  call void @PyEval_RestoreThread(ptr %thread)
  %bad_in_team = call i1 @failed(ptr %status, i64 %status_words)
  br i1 %bad_in_team, label %give_failed, label %give_done
give_failed:
  %failed_object = call ptr @PyLong_FromLong(i64 {FAILED})
  ret ptr %failed_object
give_done:
  %done_object = call ptr @PyLong_FromLong(i64 {DONE})
  ret ptr %done_object
}}
"""


class _Native(KernelSpec):
    """The function as a pack keeps it."""

    def __init__(self) -> None:
        self.name = "native_run"
        self.signature = ()
        self.key = digest("native", _TEXT, str(_ROW_BYTES))

    def source(self) -> str:
        """Its text in LLVM's language."""
        words = {name: value for name, value in globals().items() if isinstance(value, int)}
        return _TEXT.format(symbol=self.symbol, move_bytes=8 * MOVE, row_bytes=_ROW_BYTES, **words)

    def path(self) -> str:
        """This file."""
        return __file__

    def bind(self) -> tuple[FunctionType, tuple[str, ...]]:
        """It is no function in kernels' language."""
        raise KernelError(f"{self.name} is text for LLVM")

    def llvm(self) -> str:
        """The text for LLVM."""
        return self.source()


class _Definition(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_METH_FASTCALL = 0x80
_definitions: list[_Definition] = []  # that functions point to


@cache
def runner() -> Callable[..., int] | None:
    """The function (address of a header, *integers) -> DONE or FAILED; None where there is none.

    It holds the interpreter's lock but while a team runs: other rows should be short.
    """
    spec = _Native()
    try:
        address = pack.addresses([spec])[spec.key]
        make = ctypes.pythonapi.PyCFunction_NewEx
    except (KernelError, AttributeError):  # another interpreter, or a system without its symbols
        return None
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    definition = _Definition(b"run", address, _METH_FASTCALL, None)
    _definitions.append(definition)
    found: Callable[..., int] = make(ctypes.addressof(definition), None, None)
    return found
