"""A family of operators that an interrupt cuts short while it loads is loaded anew."""

import subprocess
import sys

PROGRAM = """
import numbatorch as nt
from tests.interrupts import interruptions

x = nt.zeros(2, 3, device="numpy")
for moment in interruptions(lambda: x.softmax(-1).topk(2)):
    if moment % 40 == 0:
        assert x.softmax(-1).sum().item() == 2.0
assert x.requires_grad_().softmax(-1)[:, 0].sum().requires_grad
"""


def test_an_interrupt_while_a_family_loads_leaves_no_half_of_it() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=120)
