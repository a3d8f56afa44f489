"""Where a step of a training would wait for an accelerator, found on a CPU.

Weights, and whatever is moved to a device, are marked; so is what an operation makes of them. Reading a marked tensor
on the host, by ``.item()``, ``bool()``, ``.cpu()``, ``.tolist()``, ``.numpy()``, or asking for a size that depends on
its values, would wait for all work that is queued on a device.
"""

import traceback
from collections import Counter
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

_READS = ("cpu", "tolist", "numpy")
_SIZES = ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive")
_INDEXES = ("index", "index_put_", "index_put", "_index_put_impl_")


def is_marked(value):
    return isinstance(value, torch.Tensor) and getattr(value, "on_device", False)


def mark(value, on_device=True):
    value.on_device = on_device
    return value


class Waits(TorchDispatchMode):
    """Counts waits by what waits and where, ``found``, and copies to the device, ``copies``."""

    def __init__(self):
        super().__init__()
        self.found, self.copies = Counter(), Counter()

    def note(self, what, counter=None):
        frames = [frame for frame in traceback.extract_stack() if "/myosotis/" in frame.filename]
        if not frames:  # a thread of a library that loads weights
            return
        name = frames[-1].filename.rpartition("/myosotis/")[2]
        (self.found if counter is None else counter)[f"{what} {name}:{frames[-1].lineno}"] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        marked = any(map(is_marked, tree_flatten((args, kwargs))[0]))
        name = func.overloadpacket.__name__
        if marked:
            by_mask = name in _INDEXES and any(i is not None and i.dtype == torch.bool for i in args[1])
            if (name == "_local_scalar_dense" and is_marked(args[0])) or name in _SIZES or by_mask:
                self.note(name)
        result = func(*args, **kwargs)
        if marked:
            for one in tree_flatten(result)[0]:
                if isinstance(one, torch.Tensor):
                    mark(one)
        return result


def _asks_for_a_device(args, kwargs):
    given = [*args, *kwargs.values()]
    return any(isinstance(one, torch.device | str) for one in given) or any(map(is_marked, given))


@contextmanager
def waiting():
    """Yield the counts of the block."""
    mode = Waits()
    before = {name: getattr(torch.Tensor, name) for name in (*_READS, "to")}
    module_to = torch.nn.Module.to

    def reading(name):
        def read(tensor, *args, **kwargs):
            if is_marked(tensor):
                mode.note(f".{name}()")
                tensor = mark(before["to"](tensor.detach(), "cpu", copy=True), on_device=False)
            return before[name](tensor, *args, **kwargs)

        return read

    def moved(tensor, *args, **kwargs):
        if is_marked(tensor) or not _asks_for_a_device(args, kwargs):
            return before["to"](tensor, *args, **kwargs)
        if not kwargs.get("non_blocking"):
            mode.note("copy", mode.copies)
        return mark(before["to"](tensor, *args, **{**kwargs, "copy": True}))

    def module_moved(module, *args, **kwargs):
        result = module_to(module, *args, **kwargs)
        for one in (*result.parameters(), *result.buffers()):
            mark(one)
        return result

    for name in _READS:
        setattr(torch.Tensor, name, reading(name))
    torch.Tensor.to, torch.nn.Module.to = moved, module_moved
    try:
        with mode:
            yield mode
    finally:
        torch.nn.Module.to = module_to
        for name, function in before.items():
            setattr(torch.Tensor, name, function)
