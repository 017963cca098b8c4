"""Which implementation unpacks chunks: Zarr's own, or that of the package ``zarrs``.

Images are written the same way with both, by `hcs_steps.storage._packing`: ``zarrs`` takes longer for that, and puts
the chunks of a shard in the order in which its threads finish, so that no two runs write the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from hcs_steps.errors import ConfigError, nearest
from hcs_steps.storage.protocol import StoreSpec

_PIPELINES = {
    "zarr": "zarr.core.codec_pipeline.BatchedCodecPipeline",
    "zarrs": "zarrs.ZarrsCodecPipeline",
}


def check_pipeline(spec: StoreSpec) -> None:
    """Refuse a codec pipeline that is none or is not installed, before a job meets it."""
    if spec.codec_pipeline not in _PIPELINES:
        raise ConfigError(
            f"Unknown codec pipeline {spec.codec_pipeline!r}.", hint=nearest(spec.codec_pipeline, _PIPELINES)
        )
    if spec.codec_pipeline == "zarrs" and find_spec("zarrs") is None:
        raise ConfigError(
            "The codec pipeline 'zarrs' is not installed.",
            hint="Install it (pip install zarrs), or choose the codec pipeline 'zarr'.",
        )


@contextmanager
def codec_pipeline(spec: StoreSpec) -> Iterator[None]:
    """Arrays that are opened inside use the pipeline of ``spec`` from then on, and no others do.

    An array that ``zarrs`` cannot handle is an error: it would otherwise go on with Zarr's own pipeline.
    """
    import zarr

    chosen = {"codec_pipeline.path": _PIPELINES[spec.codec_pipeline], "codec_pipeline.strict": True}
    with zarr.config.set(chosen):
        yield
