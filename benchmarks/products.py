"""What no implementation can do without: the matrix products of a computation, and how fast this machine makes them."""

import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Products(TorchDispatchMode):
    """Counts the multiplications and additions of matrix products."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result, count = func(*args, **(kwargs or {})), flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def products(function, *arguments):
    with Products() as counted:
        function(*arguments)
    return counted.total


def product_rate(shape=(900, 576, 1536)):
    """Multiplications and additions a second of a large product, by default one of a model of 135 million weights."""
    rows, inner, columns = shape
    a, b, best = torch.randn(rows, inner), torch.randn(inner, columns), 0.0
    for _ in range(50):
        started = time.perf_counter()
        torch.mm(a, b)
        best = max(best, 2 * rows * inner * columns / (time.perf_counter() - started))
    return best
