"""Run a function in a process of its own, so that its peak memory is its own."""

import multiprocessing
import resource
import sys


def _call(connection, function, arguments):
    result = function(*arguments)
    unit = 1 if sys.platform == "darwin" else 1024
    connection.send((result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit))


def alone(function, *arguments):
    """Return what a function returns in a fresh process, and the peak memory of that process in bytes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call, args=(theirs, function, arguments))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} failed with status {process.exitcode}") from None
    process.join()
    return found


def show(result):
    """Print a flat result as a table."""
    for key, value in result.items():
        print(f"{key:36} {value:.4g}" if isinstance(value, float) else f"{key:36} {value}")
