"""What notebooks show: well-formed tables with the values, escaped, and nothing from outside."""

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.dtype import by_name


class Page(HTMLParser):
    """The caption, the rows of the table and the preformatted text; fails on what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.caption = self.pre = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        assert tag not in ("script", "link", "style")
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data
        elif self.open[-1] == "pre":
            self.pre += data
        else:
            self.caption += data


def page(shown: Any) -> Page:
    return Page(shown._repr_html_())


def test_a_matrix_is_a_table() -> None:
    found = page(nt.tensor([[1.5, -2.0], [0.25, 4.0], [0.0, 8.0]]))
    assert found.caption == "Tensor (3, 2) float32 on cpu"
    assert found.rows == [
        ["", "0", "1"],
        ["0", "1.5000", "-2.0000"],
        ["1", "0.2500", "4.0000"],
        ["2", "0.0000", "8.0000"],
    ]


def test_a_vector_is_one_row() -> None:
    found = page(nt.tensor([3, 1, 2]))
    assert found.caption == "Tensor (3,) int64 on cpu"
    assert found.rows == [["", "0", "1", "2"], ["", "3", "1", "2"]]


def test_long_dimensions_show_their_ends() -> None:
    values = np.arange(40 * 13).reshape(40, 13)
    found = page(nt.tensor(values))
    columns = [0, 1, 2, 3, 4, None, 8, 9, 10, 11, 12]
    rows = [0, 1, 2, 3, 4, None, 35, 36, 37, 38, 39]
    dots = "\u22ef"
    assert found.rows[0] == ["", *(dots if c is None else str(c) for c in columns)]
    for row, line in zip(rows, found.rows[1:], strict=True):
        if row is None:
            assert line == [dots] * 12
        else:
            cells = [dots if c is None else str(values[row, c]) for c in columns]
            assert line == [str(row), *cells]


@pytest.mark.parametrize("shape", [(), (2, 2, 2), (0, 3)], ids=str)
def test_other_shapes_are_text(shape: tuple[int, ...]) -> None:
    x = nt.ones(*shape)
    assert page(x).pre == repr(x)


def test_blocks_are_text() -> None:
    blocks = np.zeros(2 * 34, np.uint8)
    x = nt.from_blocks(blocks, by_name["Q8_0"], (2, 32))
    assert page(x).pre == repr(x)
    assert page(x).caption == "Tensor (2, 32) Q8_0 on cpu"


@pytest.mark.parametrize("dtype", [nt.float16, nt.bfloat16, nt.bool_], ids=lambda d: d.name)
def test_every_kind_of_number(dtype: nt.DType) -> None:
    cells = page(nt.tensor([[1, 0]]).to(dtype)).rows[1][1:]
    assert cells == (["True", "False"] if dtype is nt.bool_ else ["1.", "0."])


def test_gradients_are_told() -> None:
    x = nt.tensor([1.0], requires_grad=True)
    assert page(x).caption.endswith("requires grad")
    assert page((x * 2).exp()).caption.endswith("gradient by exp")


def test_text_is_escaped() -> None:
    from numbatorch.tensor.notebook import table

    text = '<script>"&'
    found = Page(table(text, [text], [[text]]))
    assert (found.caption, found.rows) == (text, [[text], [text]])


def test_a_plan_is_a_table_of_launches() -> None:
    x = nt.tensor(np.ones((4, 8), np.float32))
    y = ((x @ x.transpose(0, 1)).relu() + 1).softmax(-1)
    plan = debug.plan(y)
    assert isinstance(plan, str)
    found = page(plan)
    kernels = debug.kernels(y)
    assert found.caption.startswith(f"Plan for cpu: {len(found.rows) - 1} launches of 2 kernels")
    assert found.rows[0] == ["", "kernel", "computes", "results", "bytes touched"]
    assert {row[2] for row in found.rows[1:]} == {", ".join(k.fused) for k in kernels}
    assert found.rows[-1][3] == "(4, 4) float32"
    assert all(row[1] in plan for row in found.rows[1:])
