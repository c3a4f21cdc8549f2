"""Keys drawn at random, read and written, against NumPy."""

from typing import Any

import numpy as np

import numbatorch as nt

Array = np.ndarray[Any, Any]
DRAWS = 150


def _slice(rng: np.random.Generator, size: int) -> slice:
    ends = [None if rng.random() < 0.4 else int(rng.integers(-size - 2, size + 3)) for _ in "ab"]
    return slice(*ends, [None, 1, 2, -1, -2, 3][int(rng.integers(6))])


def _key(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Slices, None and one ellipsis, with ints or else with lists, arrays and masks.

    Where ints meet arrays, dimensions stand as in PyTorch: tests/ops/test_conventions_index.py.
    """
    items: list[Any] = []
    whole = bool(rng.random() < 0.5)
    together = [(), (2,), (3, 1), (1, 3), (0,)][int(rng.integers(5))]
    axis = 0
    while axis < len(shape) and rng.random() < 0.9:
        size, way = shape[axis], int(rng.integers(7))
        if way == 0:
            items.append(None)
            continue
        if way == 1 and Ellipsis not in [i for i in items if i is Ellipsis] and whole:
            items.append(Ellipsis)
            axis += int(rng.integers(len(shape) - axis + 1))
            continue
        if way < 4 or not size:
            items.append(_slice(rng, size))
        elif whole:
            items.append(int(rng.integers(-size, size)))
        elif way == 4 and axis + 1 < len(shape):
            items.append(rng.random(shape[axis : axis + 2]) < 0.4)
            axis += 1
        elif way == 5:
            items.append(rng.random(size) < 0.5)
        else:
            places = rng.integers(-size, size, together if together else (1,))
            items.append(places if rng.random() < 0.5 else places.tolist())
        axis += 1
    return tuple(items)


def _held(item: Any, rng: np.random.Generator) -> Any:
    return nt.tensor(item) if isinstance(item, np.ndarray) and rng.random() < 0.5 else item


def test_keys_read_and_write_as_in_numpy(seed: int) -> None:
    compared = 0
    for number in range(DRAWS):
        rng = np.random.default_rng((seed, number))
        shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 5], int(rng.integers(0, 5))))
        x = rng.integers(-99, 99, shape).astype(["float32", "int64"][int(rng.integers(2))])
        key = _key(rng, shape)
        ours = tuple(_held(item, rng) for item in key)
        try:
            expected = x[key]
        except IndexError:
            continue  # masks and arrays that do not go together
        found = nt.tensor(x)[ours].numpy()
        np.testing.assert_array_equal(found, expected, err_msg=f"{shape} {key}")
        part = expected.shape[int(rng.integers(0, expected.ndim + 1)) :]
        value = rng.integers(-9, 9, [1 if rng.random() < 0.2 else n for n in part]).astype(x.dtype)
        changed, tensor = x.copy(), nt.tensor(x)
        changed[key] = value
        tensor[ours] = nt.tensor(value) if rng.random() < 0.5 else value
        np.testing.assert_array_equal(tensor.numpy(), changed, err_msg=f"{shape} {key} {part}")
        compared += 1
    assert compared > DRAWS // 2
