"""Bad data: what a lab's own step functions do."""

from __future__ import annotations

import tifffile
from bad_data_cases import FINE, REFUSED, WELL, cases
from bad_data_images import rewrite
from bad_data_lab import WELLS, Bench

case = cases("A lab's own step function")

QUICK = ("closes stdout and stderr", "changes the working directory")
"""Of the cases that start a job's process, those that are always run."""

TABLE = '@step_function(outputs={"rows": "table"})'
LABELS = '@step_function(outputs={"cells": "labels"})'

for _name, _body, _says, _decorator in (
    ("returns nothing", "return None", "returned nothing", ""),
    ("returns a stack of another number of planes", "return stack[:0]", "expected (1, Y, X)", ""),
    ("returns a stack of four axes", "return stack[None]", "expected (1, Y, X)", ""),
    ("returns text", "return 'done'", "returned", ""),
    ("returns objects", "return stack.astype(object)", "pixels of type object", ""),
    ("returns complex numbers", "return stack * 1j", "pixels of type complex", ""),
    ("returns no pixels", "return stack[:, :0, :0]", "which has no pixels", ""),
    ("returns a generator", "yield stack", "expected (1, Y, X)", ""),
    ("returns more than it declares", "return stack, 1",
     "returned 2 values; expected the stack and no named outputs", ""),
    ("returns a table without the columns' names", "return stack, [[1, 2], [3, 4]]", "is not a table", TABLE),
    ("returns a table with columns of different lengths", "return stack, {'a': [1, 2], 'b': [1]}",
     "differ in length", TABLE),
    ("returns a table of no known plane", "return stack, {'plane': [0, 9], 'a': [1, 2]}",
     "The column 'plane'", TABLE),
    ("returns a table with numbers and texts in one column", "return stack, {'a': [1, 'x']}",
     "Give all values of a column one type", TABLE),
    ("returns a table with the columns of the runner", "return stack, {'Metadata_Well': ['Z99']}",
     "The column 'Metadata_Well' of a table names something else than", TABLE),
    ("returns a number for a table", "return stack, 7", "is not a table", TABLE),
    ("returns labels of another shape", "return stack, stack[:, :5].astype('int32')",
     "returned labels 'cells' of shape", LABELS),
    ("returns labels below zero", "return stack, -stack.astype('int64')", "negative labels", LABELS),
    ("returns labels that are no whole numbers", "return stack, stack * 0.5", "expected integers", LABELS),
    ("raises", "raise ValueError('no such luck')", "ValueError: no such luck", ""),
    ("raises with a message of several lines", "raise ValueError('first\\nsecond')", "ValueError: first second", ""),
    ("raises with a message of a megabyte", "raise ValueError('x' * 1_000_000)", "ValueError: xxx", ""),
    ("raises an error that cannot be shown", "class E(Exception):\n        __str__ = lambda self: 1 / 0\n    raise E()",
     "E: (its text cannot be shown: ZeroDivisionError)", ""),
    ("raises an error with broken Unicode", "raise ValueError('\\udcff')", "ValueError", ""),
    ("runs out of recursion", "return step(stack)", "RecursionError", ""),
    ("runs out of memory", "raise MemoryError", "MemoryError", ""),
    ("calls sys.exit()", "import sys; sys.exit(3)", "called sys.exit(3)", ""),
    ("raises SystemExit(0)", "raise SystemExit(0)", "called sys.exit(0)", ""),
):  # fmt: skip

    @case(_name, WELL, _says, units=WELLS)
    def _(bench: Bench, body: str = _body, decorator: str = _decorator) -> None:
        bench.function(body, decorator)


for _name, _body in {
    "changes its input in place": "stack[:] = 7\n    return stack",
    "returns booleans": "return stack > 100",
    "returns 16-bit floats": "return (stack / 100).astype('float16')",
    "returns big-endian pixels": "return stack.astype('>u2')",
    "returns a stack without its own memory": (
        "import numpy as np\n    return np.broadcast_to(stack[:, :1], stack.shape)"
    ),
}.items():

    @case(_name, FINE, "")
    def _(bench: Bench, body: str = _body) -> None:
        bench.function(body)


for _name, _body in {
    "prints a lot": "print('x' * 100, end='\\n' * 10_000)\n    return stack",
    "closes stdout and stderr": "import sys; sys.stdout.close(); sys.stderr.close()\n    return stack",
    "changes the working directory": "import os; os.chdir('/')\n    return stack",
    "leaves a thread that never ends": (
        "import threading, time\n    threading.Thread(target=time.sleep, args=(1e6,)).start()\n    return stack"
    ),
    "changes how NumPy and warnings treat errors": (
        "import numpy as np, warnings; np.seterr(all='raise'); warnings.simplefilter('error')\n    return stack"
    ),
    "removes the environment": "import os; os.environ.clear()\n    return stack",
}.items():

    @case(f"{_name} (in a job's process)", FINE, "", slow=_name not in QUICK)
    def _(bench: Bench, body: str = _body) -> None:
        bench.by_command = True
        bench.function(body)


BRIGHT = 30000

ENDED = "in the middle of the unit, without an error. A function, or a library that it uses, has ended it"

for _name, _body, _says in (
    ("raises KeyboardInterrupt", "raise KeyboardInterrupt", ENDED),
    ("raises an exception that is none of the usual ones", "raise BaseException('odd')", ENDED),
    ("ends the process", "import os; os._exit(0)", ENDED),
    ("kills the process", "import os; os.kill(os.getpid(), 9)", "was ended by signal 9, SIGKILL"),
    ("crashes in native code", "import ctypes; ctypes.string_at(0)", "was ended by signal 11, SIGSEGV"),
):

    @case(f"{_name} in one well (in a job's process)", WELL, _says, slow=_name not in QUICK)
    def _(bench: Bench, body: str = _body) -> None:
        bench.by_command = True
        rewrite(bench.first, tifffile.imread(bench.first) + BRIGHT)
        bench.function(f"if stack.max() > {BRIGHT}: {body}\n    return stack")


@case("fails in one well only", WELL, "ValueError: too bright")
def _(bench: Bench) -> None:
    rewrite(bench.image, tifffile.imread(bench.image) + BRIGHT)
    bench.function(f"if stack.max() > {BRIGHT}: raise ValueError('too bright')\n    return stack")


@case("returns another shape in one well only", FINE, "")
def _(bench: Bench) -> None:
    for path in (bench.image, bench.first):
        rewrite(path, tifffile.imread(path) + BRIGHT)
    bench.function(f"return stack[:, ::2, ::2] if stack.max() > {BRIGHT} else stack")


@case("returns another dtype in one channel only", WELL, "cannot go into one")
def _(bench: Bench) -> None:
    rewrite(bench.image, tifffile.imread(bench.image) + BRIGHT)
    bench.function(f"return stack.astype('float32') if stack.max() > {BRIGHT} else stack")


@case("its file cannot be imported", REFUSED, "cannot be imported")
def _(bench: Bench) -> None:
    bench.function("return stack")
    (bench.root / "lab.py").write_text("import nothing_of_the_kind")


@case(
    "its file ends Python when it is imported",
    REFUSED,
    "cannot be imported",
)
def _(bench: Bench) -> None:
    bench.function("return stack")
    (bench.root / "lab.py").write_text("raise SystemExit(0)")


@case("its file is no Python", REFUSED, "cannot be imported")
def _(bench: Bench) -> None:
    bench.function("return stack")
    (bench.root / "lab.py").write_text("def step(stack:\n")
