"""A strict stand-in for CuPy, for machines without a GPU: NumPy's results with CuPy's refusals.

Arrays are no NumPy arrays and do not turn into them without ``get()``; host and device arrays do not mix, not even
as an index; reductions give 0-dimensional arrays, not scalars; what CuPy 14 lacks is absent. `installed` puts it in
the place of ``cupy`` and ``cupyx``. It has devices, of which a process keeps those that it first saw, and memory:
arrays take it until they are gone, the pool keeps it until it is freed, and beyond a limit (`set_limit` of the pool) it
raises what CuPy raises. It counts the arrays that cross between host and device (``cupy.crossed``). What it cannot show
is speed, rounding, and memory that the real thing takes besides arrays.
"""

from __future__ import annotations

import os
import sys
import types
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
import scipy.special


def _words(text):
    return frozenset(text.split())


LACKING = _words(
    "asmatrix block bmat broadcast_shapes errstate frompyfunc geomspace histogram_bin_edges insert matrix matvec "
    "memmap nanpercentile nanquantile ndenumerate nditer polyder polydiv polyint recarray spacing unstack vecdot "
    "vecmat vectorize seterr isnat datetime64 timedelta64 str_ object_ void"
)
"""Names of NumPy which CuPy 14.2 does not have."""

LACKING_FILTERS = _words(
    "distance_transform_bf distance_transform_cdt geometric_transform vectorized_filter watershed_ift"
)
"""Names of scipy.ndimage which cupyx.scipy.ndimage 14.2 does not have."""

METHODS = _words(
    "all any argmax argmin argpartition argsort astype choose clip compress conj copy cumprod cumsum diagonal dot fill "
    "flatten max mean min nonzero partition prod put ravel repeat reshape round sort squeeze std sum swapaxes take "
    "tobytes tolist trace transpose var view"
)


class OutOfMemoryError(MemoryError):
    """As CuPy calls it, and of the same parent."""

    __module__ = "cupy.cuda.memory"


class _Pool:
    """CuPy's memory pool: bytes of the arrays that are alive, and those that it holds."""

    def __init__(self):
        self.used = self.held = self.limit = 0

    def take(self, array, size):
        if self.limit and self.used + size > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (limit set to: {self.limit:,} bytes)."
            )
        self.used += size
        self.held = max(self.held, self.used)
        weakref.finalize(array, self._give, size)

    def _give(self, size):
        self.used -= size

    def total_bytes(self):
        return self.held

    def used_bytes(self):
        return self.used

    def free_all_blocks(self):
        self.held = self.used

    def set_limit(self, size=0):
        self.limit = size


class _Standing:
    """What the stand-in that is installed knows of its devices, and what crossed between them and the host."""

    def __init__(self, devices):
        self.devices = devices
        self.pool = _Pool()
        self.crossed = Counter()
        self.seen = None

    def device_count(self):
        if self.seen is None:  # CUDA reads it once
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            self.seen = self.devices if visible is None else len([n for n in visible.split(",") if n])
        return min(self.seen, self.devices)

    def cross(self, way, array):
        self.crossed[way] += 1
        self.crossed[f"{way}_bytes"] += array.nbytes


_standing = _Standing(1)


def _to_host(value):
    """The NumPy values behind arguments; a NumPy array among them is refused, as CuPy does."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: a host array met a device array")
    if isinstance(value, tuple):
        return tuple(_to_host(item) for item in value)
    if isinstance(value, list):
        return [_to_host(item) for item in value]
    return value


def _to_device(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple) and type(value) is not tuple:  # results like UniqueInverse are named tuples
        return type(value)(*(_to_device(item) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_to_device(item) for item in value)
    return value


def _on_device(function):
    def call(*args, out=None, **kwargs):
        named = {name: _to_host(value) for name, value in kwargs.items()}
        if out is not None:
            function(*_to_host(args), out=_to_host(out), **named)
            return out
        return _to_device(function(*_to_host(args), **named))

    return call


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):  # noqa: N801
    __module__ = "cupy"
    __hash__ = None

    def __init__(self, host):
        self._host = host
        if host.base is None:
            _standing.pool.take(self, host.nbytes)

    def get(self):
        _standing.cross("to_host", self._host)
        return self._host.copy()

    def set(self, host):
        _standing.cross("to_device", host)
        self._host[...] = host

    def item(self, *index):
        return self._host.item(*index)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Use .get()")

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        call = _on_device(getattr(ufunc, method))
        if out is None:
            return call(*inputs, **kwargs)
        return call(*inputs, out=out if len(out) > 1 else out[0], **kwargs)

    def __array_function__(self, function, _types, args, kwargs):
        return getattr(sys.modules["cupy"], function.__name__)(*args, **kwargs)

    def __getattr__(self, name):
        if name not in METHODS:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        method = getattr(self._host, name)

        def call(*args, **kwargs):
            result = method(*_to_host(args), **{key: _to_host(value) for key, value in kwargs.items()})
            return self if result is self._host else _to_device(result)  # astype(copy=False) takes no memory

        return call

    def __getitem__(self, key):
        return _to_device(self._host[_to_host(key)])

    def __setitem__(self, key, value):
        self._host[_to_host(key)] = _to_host(value)

    def __iter__(self):
        return (_to_device(item) for item in self._host)

    def __len__(self):
        return len(self._host)

    def __bool__(self):
        return bool(self._host)

    def __int__(self):
        return int(self._host)

    def __float__(self):
        return float(self._host)

    def __index__(self):
        return self._host.__index__()

    def __repr__(self):
        return f"device {self._host!r}"

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    flags = property(lambda self: self._host.flags)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: ndarray(self._host.T))
    real = property(lambda self: ndarray(self._host.real))
    imag = property(lambda self: ndarray(self._host.imag))


class _Ufunc:
    """A universal function: called, reduced, or scattered on device arrays."""

    def __init__(self, ufunc):
        self._ufunc = ufunc

    def __call__(self, *args, **kwargs):
        return _on_device(self._ufunc)(*args, **kwargs)

    def __getattr__(self, name):
        return _on_device(getattr(self._ufunc, name))


class _Module(types.ModuleType):
    """The functions of a NumPy or SciPy module on device arrays, without those that CuPy lacks."""

    def __init__(self, name, source, lacking=frozenset()):
        super().__init__(name)
        self._source, self._lacking = source, lacking

    def __getattr__(self, name):
        if name.startswith("__") or name in self._lacking:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(self._source, name)
        if isinstance(value, np.ufunc):
            return _Ufunc(value)
        if isinstance(value, type) or not callable(value):
            return value
        return _on_device(value)


def _array(x, dtype=None, **_):
    if isinstance(x, np.ndarray):
        _standing.cross("to_device", x)
    return ndarray(np.array(x._host if isinstance(x, ndarray) else x, dtype=dtype))


def _asarray(x, dtype=None, **_):
    same = isinstance(x, ndarray) and dtype in (None, x.dtype)
    return x if same else _array(x, dtype)


def _create():
    cupy = _Module("cupy", np, LACKING)
    cupy.ndarray = ndarray
    cupy.array, cupy.asarray, cupy.ascontiguousarray = _array, _asarray, _asarray
    cupy.from_dlpack = lambda x: ndarray(np.from_dlpack(x))
    cupy.get_default_memory_pool = lambda: _standing.pool
    cupy.get_default_pinned_memory_pool = _Pool
    cupy.crossed = _standing.crossed
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=_standing.device_count),
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        Device=lambda: types.SimpleNamespace(synchronize=lambda: None),
    )
    cupy.asnumpy = lambda x, **_: x.get() if isinstance(x, ndarray) else np.asarray(x)
    cupy.get_array_module = lambda *arrays: cupy if any(isinstance(a, ndarray) for a in arrays) else np
    for name in ("fft", "linalg", "random"):
        setattr(cupy, name, _Module(f"cupy.{name}", getattr(np, name)))
    cupyx = types.ModuleType("cupyx")
    cupyx.scipy = types.ModuleType("cupyx.scipy")
    cupyx.scipy.ndimage = _Module("cupyx.scipy.ndimage", scipy.ndimage, LACKING_FILTERS)
    for name in ("fft", "signal", "special"):
        setattr(cupyx.scipy, name, _Module(f"cupyx.scipy.{name}", getattr(scipy, name)))
    return cupy, cupyx


@contextmanager
def installed(devices: int = 1) -> Iterator[types.ModuleType]:
    """The stand-in as ``cupy`` and ``cupyx`` in the block; its value is the ``cupy`` module."""
    global _standing
    _standing = _Standing(devices)
    cupy, cupyx = _create()
    modules = {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": cupyx.scipy}
    modules |= {f"cupy.{name}": getattr(cupy, name) for name in ("fft", "linalg", "random")}
    modules |= {f"cupyx.scipy.{n}": getattr(cupyx.scipy, n) for n in ("ndimage", "fft", "signal", "special")}
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield cupy
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
