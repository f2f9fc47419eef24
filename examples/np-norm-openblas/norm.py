#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The norm benchmark: the Frobenius norm of a product of two random matrices, with OpenBLAS doing the work."""

import argparse
import os
import sys
import time

import numpy


def parse_arguments():
    parser = argparse.ArgumentParser(prog="norm", description=__doc__)
    parser.add_argument("size", nargs="?", type=int, default=512, help="rows and columns of the matrices (512)")
    parser.add_argument("-r", "--rounds", type=int, default=3, help="rounds; the fastest one counts (3)")
    arguments = parser.parse_args()
    if arguments.size < 1 or arguments.rounds < 1:
        parser.error("size and rounds must be at least 1")
    return arguments


def count_threads():
    """What OpenBLAS takes: its own variable, OpenMP's, else every CPU this process may use."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    return len(os.sched_getaffinity(0))


def main():
    arguments = parse_arguments()
    size = arguments.size
    random = numpy.random.default_rng(20261122)
    a = random.standard_normal((size, size))
    b = random.standard_normal((size, size))

    seconds = float("inf")
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        product = a @ b
        norm = numpy.linalg.norm(product)
        seconds = min(seconds, time.perf_counter() - start)

    # A check that does not use the product's own path: (A B) x must equal A (B x).
    x = random.standard_normal(size)
    expected = a @ (b @ x)
    error = numpy.linalg.norm(product @ x - expected) / numpy.linalg.norm(expected)
    operations = 2 * size**3 + 2 * size**2

    print(f"threads {count_threads()}")
    print(f"size    {size}")
    print(f"seconds {seconds:.6f}")
    print(f"GFLOP/s {operations / seconds / 1e9:.2f}")
    print(f"norm    {norm:.6e}")
    print(f"check   {error:.1e} {'ok' if error < 1e-10 else 'WRONG'}")
    return 0 if error < 1e-10 else 1


if __name__ == "__main__":
    sys.exit(main())
