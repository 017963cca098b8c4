from __future__ import annotations

import os
import pickle
import sys
import tracemalloc
import types
from typing import ClassVar

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from hcs_steps.functions.declare import spec_of
from hcs_steps.functions.segmentation.learned import cellpose_model
from hcs_steps.functions.segmentation.learned.tiles import merge_labels, tiles_of
from hcs_steps.functions.segmentation.models import segment_model

torch = pytest.importorskip("torch")


ALL_TARGETS = torch.tensor([1, 1])


class Smooth(torch.nn.Module):
    """Mean of 5 x 5 pixels of the first channel, as a probability."""

    def forward(self, x):
        window = torch.ones(1, 1, 5, 5, device=x.device) / 25
        padded = torch.nn.functional.pad(x[:, :1], [2, 2, 2, 2], mode="replicate")
        return torch.clamp(torch.nn.functional.conv2d(padded, window), 0.0, 1.0)


class Logits(torch.nn.Module):
    """Two channels: noise, and logits that exceed those of 0.5 where the image exceeds 0.5."""

    def forward(self, x):
        return torch.cat([-x[:, :1], 10.0 * (x[:, :1] - 0.5)], dim=1)


class Instances(torch.nn.Module):
    """4-connected labels of what exceeds 0.5, by passing on the highest number."""

    def forward(self, x):
        mask = (x[:, :1] > 0.5).to(torch.float32)
        count = x.shape[2] * x.shape[3]
        labels = (
            torch.arange(1, count + 1, device=x.device)
            .to(torch.float32)
            .reshape(1, 1, x.shape[2], x.shape[3])
        )
        labels = labels * mask
        for _ in range(200):
            wide = torch.nn.functional.max_pool2d(labels, [1, 3], [1, 1], [0, 1])
            tall = torch.nn.functional.max_pool2d(labels, [3, 1], [1, 1], [1, 0])
            labels = torch.maximum(wide, tall) * mask
        return labels


class LikeInstanSeg(torch.nn.Module):
    """The interface of an InstanSeg release: labels of nuclei or cells; works in place on its input."""

    def __init__(self, pixel_size: float, cells_and_nuclei: bool):
        super().__init__()
        self.pixel_size = pixel_size
        self.cells_and_nuclei = cells_and_nuclei
        self.instances = Instances()

    def forward(self, x, target_segmentation: torch.Tensor = ALL_TARGETS):
        torch.clamp_max_(x, 3)
        result = self.instances(x)
        if self.cells_and_nuclei and bool(target_segmentation[0] == 1):
            result = result * (x[:, :1] > 0.9)
        return result


class BySum(torch.nn.Module):
    def forward(self, x):
        return torch.clamp(x.sum(dim=1, keepdim=True) - 1.2, 0.0, 1.0)


class Wrong(torch.nn.Module):
    def forward(self, x):
        return x[:, :, ::2]


def _saved(folder, module, name="model.pt"):
    path = folder / name
    torch.jit.script(module).save(str(path))
    return path


def _blobs(shape=(150, 170), seed=0, count=30, radius=6):
    """Bright discs at random places that do not touch, as uint16, with their labels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    for y, x in rng.integers(radius + 2, np.array(shape) - radius - 2, (count, 2)):
        disc = (rows - y) ** 2 + (columns - x) ** 2
        if not mask[disc <= (radius + 3) ** 2].any():
            mask |= disc <= radius**2
    return np.where(mask, 3000, 500).astype(np.uint16), label(mask, connectivity=1)


def test_a_probability_is_cut_at_the_threshold(tmp_path):
    image, _ = _blobs()
    weights = _saved(tmp_path, Smooth())
    stack = np.stack([image, image[::-1]])
    passed, cells = segment_model(stack, weights=weights, split=False, min_area=0)
    assert passed is stack
    assert cells.dtype == np.uint32
    for plane, found in zip(stack, cells, strict=True):
        smooth = ndimage.uniform_filter((plane > 1000).astype(float), 5, mode="nearest")
        np.testing.assert_array_equal(found, label(smooth > 0.5, connectivity=1))
    _, fewer = segment_model(stack, weights=weights, split=False, min_area=0, threshold=0.9)
    assert 0 < np.count_nonzero(fewer) < np.count_nonzero(cells)


def test_touching_objects_of_a_probability_are_divided_at_their_neck(tmp_path):
    rows, columns = np.ogrid[:60, :80]
    image = np.zeros((60, 80), np.float32)
    for x in (30, 46):
        image[(rows - 30) ** 2 + (columns - x) ** 2 <= 100] = 1
    weights = _saved(tmp_path, Smooth())
    assert segment_model(image[None], weights=weights)[1].max() == 2
    assert segment_model(image[None], weights=weights, split=False)[1].max() == 1


def test_logits_of_a_chosen_channel(tmp_path):
    image, truth = _blobs()
    weights = _saved(tmp_path, Logits())
    parameters = {"weights": weights, "output": "logits", "output_channel": 1, "split": False}
    _, cells = segment_model(image[None], **parameters)
    np.testing.assert_array_equal(cells[0], truth)
    assert not segment_model(image[None], threshold=0.9999, **parameters)[1].any()
    with pytest.raises(ValueError, match="returned 2 channels"):
        segment_model(image[None], **{**parameters, "output_channel": 2})


@pytest.mark.parametrize("tile", [64, 100, 1024])
def test_labels_of_tiles_become_the_labels_of_the_plane(tmp_path, tile):
    image, truth = _blobs(shape=(190, 230), count=80)
    weights = _saved(tmp_path, Instances())
    _, cells = segment_model(image[None], weights=weights, output="labels", tile_size=tile, tile_overlap=24)
    np.testing.assert_array_equal(cells[0], truth)


@pytest.mark.parametrize("tile", [48, 64, 97])
def test_probabilities_do_not_depend_on_the_tiles(tmp_path, tile):
    image, _ = _blobs(shape=(190, 230), count=80)
    weights = _saved(tmp_path, Smooth())
    whole = segment_model(image[None], weights=weights)[1]
    assert whole.any()
    cut = segment_model(image[None], weights=weights, tile_size=tile, tile_overlap=8)[1]
    np.testing.assert_array_equal(cut, whole)


@pytest.mark.parametrize(
    ("shape", "tile", "overlap"), [((1, 1), 32, 8), ((100, 33), 32, 15), ((65, 64), 64, 0)]
)
def test_the_cores_of_the_tiles_cover_the_plane_once(shape, tile, overlap):
    covered = np.zeros(shape, int)
    for part in tiles_of(shape, tile, overlap):
        covered[part.core] += 1
        for window, core, size in zip(part.window, part.core, shape, strict=True):
            assert window.stop - window.start == min(tile, size)
            assert window.start + overlap // 2 <= core.start or window.start == 0
            assert core.stop <= window.stop - overlap // 2 or window.stop == size
    assert (covered == 1).all()


def test_an_object_whose_outline_differs_between_tiles_is_kept_once():
    tiles = tiles_of((40, 100), 60, 20)
    first, second = np.zeros((40, 60), int), np.zeros((40, 60), int)
    # The tiles overlap in columns 40 to 60, the cores meet at 50.
    first[10:20, 45:58] = 3
    second[10:20, 3:12] = 5
    # Both hold their centroid in the other's core.
    first[25:35, 46:57] = 4
    second[25:35, 4:12] = 6
    merged = merge_labels([first, second], tiles, (40, 100))
    assert label(merged > 0).max() == 2
    assert len(np.unique(merged)) == 3


def test_an_image_of_several_channels_is_one_input(tmp_path):
    rng = np.random.default_rng(0)
    one, other = (rng.random((2, 40, 40)) > 0.5).astype(np.uint16)
    stack = np.stack([one, other, one, 1 - other])
    planes = {"site": np.array([1, 1, 2, 2]), "channel_name": np.array(["A", "B", "A", "B"])}
    weights = _saved(tmp_path, BySum())
    parameters = {"weights": weights, "channels": "together", "split": False, "min_area": 0, "planes": planes}
    _, cells = segment_model(stack, **parameters)
    for first, mask in ((0, one & other), (2, one & (1 - other))):
        np.testing.assert_array_equal(cells[first] > 0, mask > 0)
        np.testing.assert_array_equal(cells[first], cells[first + 1])
    assert not segment_model(stack, weights=weights, min_area=0)[1].any()


def test_percentiles_normalise_and_can_be_switched_off(tmp_path):
    image, truth = _blobs()
    weights = _saved(tmp_path, Instances())
    parameters = {"weights": weights, "output": "labels"}
    raw = (image > 1000).astype(np.float32) * 0.4
    assert not segment_model(raw[None], normalize=False, **parameters)[1].any()
    np.testing.assert_array_equal(segment_model(raw[None], **parameters)[1][0], truth)
    bright = raw.copy()
    bright[0, 0] = 1000
    assert segment_model(bright[None], high_percentile=100, **parameters)[1].max() <= 1
    np.testing.assert_array_equal(segment_model(bright[None], **parameters)[1][0], truth)
    bright[0, :3] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(segment_model(bright[None], **parameters)[1][0], truth)
    assert not segment_model(np.full((1, 40, 40), 7, np.uint8), **parameters)[1].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_all_pixel_types_give_the_same_labels(tmp_path, dtype):
    image, truth = _blobs()
    weights = _saved(tmp_path, Instances())
    _, cells = segment_model((image // 20).astype(dtype)[None], weights=weights, output="labels")
    np.testing.assert_array_equal(cells[0], truth)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 40), (1, 33, 2)])
def test_planes_of_any_size_work(tmp_path, shape):
    weights = _saved(tmp_path, Smooth())
    assert segment_model(np.ones(shape, np.uint8), weights=weights)[1].shape == shape


def test_images_are_brought_to_the_model_s_pixel_size(tmp_path):
    image, truth = _blobs(radius=8, count=12)
    weights = _saved(tmp_path, LikeInstanSeg(0.5, False), "instanseg.pt")
    planes = {"pixel_size_um": np.array([0.25])}
    for given in (weights, tmp_path, str(tmp_path)):
        _, cells = segment_model(image[None], model="instanseg", weights=given, planes=planes)
        assert cells.max() == truth.max()
        overlap = [
            np.bincount(cells[0][truth == k])[1:].max() / (truth == k).sum() for k in np.unique(truth)[1:]
        ]
        assert min(overlap) > 0.85
    # Outlines in steps of two pixels show that the model saw the smaller image.
    assert (cells[0, ::2, ::2] == cells[0, 1::2, 1::2]).all()
    _, same = segment_model(image[None], model="instanseg", weights=weights, pixel_size_um=0.5)
    np.testing.assert_array_equal(same[0], truth)
    with pytest.raises(ValueError, match="pixel size of the image is unknown"):
        segment_model(image[None], model="instanseg", weights=weights)
    plain = _saved(tmp_path, Instances())
    with pytest.raises(ValueError, match="is no InstanSeg model"):
        segment_model(image[None], model="instanseg", weights=plain)
    with pytest.raises(ValueError, match="which is unknown"):
        segment_model(image[None], weights=plain, model_pixel_size_um=1)
    parameters = {"weights": plain, "output": "labels", "min_area": 0}
    _, scaled = segment_model(image[None], model_pixel_size_um=0.5, planes=planes, **parameters)
    np.testing.assert_array_equal(scaled, cells)


def test_instanseg_finds_cells_or_nuclei(tmp_path):
    image, truth = _blobs()
    image[(truth > 0) & ~ndimage.binary_erosion(truth > 0, iterations=3)] = 2500
    weights = _saved(tmp_path, LikeInstanSeg(0.0, True))
    parameters = {"model": "instanseg", "weights": weights, "low_percentile": 0, "high_percentile": 100}
    before = image.copy()
    _, cells = segment_model(image[None], **parameters)
    np.testing.assert_array_equal(cells[0], truth)
    _, nuclei = segment_model(image[None], target="nuclei", **parameters)
    np.testing.assert_array_equal(nuclei[0] > 0, image == 3000)
    np.testing.assert_array_equal(image, before)


class CellposeModel3:
    """As much as is needed of the signatures of cellpose 3.1's CellposeModel."""

    calls: ClassVar = []

    def __init__(
        self, gpu=False, pretrained_model=False, model_type=None, mkldnn=True, diam_mean=30.0, device=None, nchan=2,
        pretrained_model_ortho=None, backbone="default",
    ):  # fmt: skip
        self.calls.append({"gpu": gpu, "pretrained_model": pretrained_model, "device": device})

    def eval(
        self, x, batch_size=8, resample=True, channels=None, channel_axis=None, z_axis=None, normalize=True,
        invert=False, rescale=None, diameter=None, flow_threshold=0.4, cellprob_threshold=0.0,
        anisotropy=None, stitch_threshold=0.0, min_size=15, max_size_fraction=0.4, niter=None,
        augment=False, tile_overlap=0.1, bsize=224, interp=True, compute_masks=True, progress=None,
    ):  # fmt: skip
        self.calls.append(
            {
                "shape": x.shape,
                "channels": channels,
                "axis": channel_axis,
                "diameter": diameter,
                "batch": batch_size,
            }
        )
        assert normalize is False
        plane = x if x.ndim == 2 else x[channels[0] - 1]
        return label(plane > 0.5, connectivity=1).astype(np.uint16), [], np.zeros(256)


class CellposeModel4:
    """As much as is needed of the signatures of cellpose 4's CellposeModel."""

    calls: ClassVar = []

    def __init__(
        self, gpu=False, pretrained_model="cpsam", model_type=None, diam_mean=None, device=None, nchan=None,
        use_bfloat16=True,
    ):  # fmt: skip
        self.calls.append({"gpu": gpu, "pretrained_model": pretrained_model, "half": use_bfloat16})

    def eval(
        self, x, batch_size=8, resample=True, channels=None, channel_axis=None, z_axis=None, normalize=True,
        rescale=None, diameter=None, flow_threshold=0.4, cellprob_threshold=0.0, anisotropy=None,
        stitch_threshold=0.0, min_size=15, max_size_fraction=0.4, niter=None, augment=False,
        tile_overlap=0.1, bsize=None, compute_masks=True, progress=None,
    ):  # fmt: skip
        assert normalize is False
        assert channels is None
        self.calls.append({"shape": x.shape, "axis": channel_axis, "min_size": min_size})
        plane = x if x.ndim == 2 else x.max(axis=channel_axis)
        return label(plane > 0.5, connectivity=1).astype(np.uint16), [], np.zeros(256)


@pytest.fixture
def cellpose(monkeypatch):
    """``cellpose(3)`` or ``cellpose(4)`` stands in for the installed package and returns the calls of its model."""

    def install(version):
        model = {3: CellposeModel3, 4: CellposeModel4}[version]
        model.calls = []
        package, models = types.ModuleType("cellpose"), types.ModuleType("cellpose.models")
        models.CellposeModel = model
        package.models = models
        monkeypatch.setitem(sys.modules, "cellpose", package)
        monkeypatch.setitem(sys.modules, "cellpose.models", models)
        cellpose_model._load.cache_clear()
        return model.calls

    yield install
    cellpose_model._load.cache_clear()


def _cellpose_weights(folder, version):
    path = folder / f"cp{version}"
    torch.save({"W2": torch.zeros(2)} if version == 4 else {"output.2.weight": torch.zeros(2)}, path)
    return path


def test_cellpose_3(tmp_path, cellpose):
    image, truth = _blobs()
    calls, weights = cellpose(3), _cellpose_weights(tmp_path, 3)
    stack = np.stack([image, np.zeros_like(image)])
    _, cells = segment_model(stack, model="cellpose", weights=weights, diameter=12, batch_size=3)
    np.testing.assert_array_equal(cells[0], truth)
    assert not cells[1].any()
    assert calls[0] == {"gpu": False, "pretrained_model": str(weights), "device": torch.device("cpu")}
    assert calls[1] == {
        "shape": image.shape,
        "channels": [0, 0],
        "axis": None,
        "diameter": 12,
        "batch": 3,
    }
    _, both = segment_model(stack, model="cellpose", weights=weights, channels="together")
    np.testing.assert_array_equal(both, np.stack([truth, truth]))
    assert calls[-1]["channels"] == [1, 2]
    assert calls[-1]["axis"] == 0
    assert len([call for call in calls if "gpu" in call]) == 1, "the weights were loaded more than once"
    with pytest.raises(ValueError, match="up to 2 channels"):
        segment_model(np.stack([image] * 3), model="cellpose", weights=weights, channels="together")


def test_cellpose_4(tmp_path, cellpose):
    image, truth = _blobs()
    calls, weights = cellpose(4), _cellpose_weights(tmp_path, 4)
    _, cells = segment_model(
        np.stack([image] * 3), model="cellpose", weights=weights, channels="together", min_area=20
    )
    np.testing.assert_array_equal(cells, np.stack([truth] * 3))
    assert calls[0] == {"gpu": False, "pretrained_model": str(weights), "half": False}
    assert calls[1] == {"shape": (3, *image.shape), "axis": 0, "min_size": 20}


@pytest.mark.parametrize(("installed", "needed"), [(3, 4), (4, 3)])
def test_weights_of_the_other_cellpose_are_refused(tmp_path, cellpose, installed, needed):
    cellpose(installed)
    weights = _cellpose_weights(tmp_path, needed)
    with pytest.raises(
        ValueError, match=f"weights of Cellpose {needed}, but Cellpose {installed} is installed"
    ):
        segment_model(np.zeros((1, 8, 8), np.uint8), model="cellpose", weights=weights)


def test_a_missing_package_is_named_with_the_fix(tmp_path, monkeypatch):
    cellpose_model._load.cache_clear()
    monkeypatch.setitem(sys.modules, "cellpose", None)
    monkeypatch.delitem(sys.modules, "cellpose.models", raising=False)
    weights = _cellpose_weights(tmp_path, 4)
    with pytest.raises(ModuleNotFoundError, match="pip install cellpose"):
        segment_model(np.zeros((1, 8, 8), np.uint8), model="cellpose", weights=weights)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"hcs-steps\[torch\]"):
        segment_model(np.zeros((1, 8, 8), np.uint8), weights=weights)


@pytest.mark.parametrize("model", ["torchscript", "instanseg", "cellpose"])
def test_missing_weights_are_named_and_nothing_is_downloaded(tmp_path, model):
    stack = np.zeros((1, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="Nothing is downloaded"):
        segment_model(stack, model=model)
    with pytest.raises(FileNotFoundError, match=r"no weights at .*cyto3.*nothing is downloaded"):
        segment_model(stack, model=model, weights=tmp_path / "cyto3")


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("model", ["torchscript", "instanseg", "cellpose"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "text", "empty"])
def test_other_files_are_refused_and_nothing_in_them_is_run(tmp_path, cellpose, model, kind):
    cellpose(4)
    path, trap = tmp_path / "weights", tmp_path / "trapped"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Trap(trap)))
    elif kind == "torch":
        torch.save(Trap(trap), path)
    else:
        path.write_text("hello" if kind == "text" else "")
    with pytest.raises(ValueError, match=r"is no TorchScript model|holds no Cellpose weights"):
        segment_model(np.zeros((1, 8, 8), np.uint8), model=model, weights=path)
    assert not trap.exists()


def test_a_changed_file_is_loaded_again(tmp_path):
    image, truth = _blobs()
    weights = _saved(tmp_path, Instances())
    parameters = {"weights": weights, "output": "labels"}
    np.testing.assert_array_equal(segment_model(image[None], **parameters)[1][0], truth)
    _saved(tmp_path, Wrong())
    with pytest.raises(ValueError, match="a value for each pixel"):
        segment_model(image[None], **parameters)


def test_a_stack_on_the_gpu_comes_back_there(tmp_path, cupy_standin):
    image, truth = _blobs()
    weights = _saved(tmp_path, Instances())
    device = cupy_standin.asarray(image[None])
    stack, cells = segment_model(device, weights=weights, output="labels")
    assert stack is device
    np.testing.assert_array_equal(cells.get()[0], truth)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"model": "magic"}, "cellpose, instanseg, torchscript"),
        ({"channels": "magic"}, "each, together"),
        ({"output": "magic"}, "probability, logits, labels"),
        ({"target": "magic"}, "cells, nuclei"),
        ({"device": "magic"}, "auto, cpu, cuda"),
        ({"device": "cuda:x"}, "auto, cpu, cuda"),
        ({"tile_size": 16}, "at least 32"),
        ({"tile_overlap": 600}, "less than half"),
        ({"low_percentile": 99.5}, "low < high"),
        ({"min_area": -1}, "min_area must not be negative"),
        ({"diameter": 0}, "diameter must be above 0"),
        ({"pixel_size_um": -1}, "pixel_size_um must be above 0"),
    ],
)
def test_impossible_parameters_are_refused(tmp_path, parameters, text):
    weights = _saved(tmp_path, Smooth())
    with pytest.raises(ValueError, match=text):
        segment_model(np.zeros((1, 8, 8), np.uint8), weights=weights, **parameters)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no CUDA device"):
        segment_model(np.zeros((1, 8, 8), np.uint8), weights=_saved(tmp_path, Smooth()), device="cuda")


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("parameters", [{}, {"output": "labels"}])
def test_peak_memory_stays_below_what_is_declared(tmp_path, parameters, planes):
    image, _ = _blobs(shape=(400, 400), count=150)
    weights = _saved(tmp_path, Smooth())
    stack = np.repeat(image[None], planes, axis=0)
    segment_model(stack[:, :64, :64], weights=weights, **parameters)
    tracemalloc.start()
    segment_model(stack, weights=weights, **parameters)
    peak = stack.nbytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spec = spec_of(segment_model)
    declared = spec.cost().of(stack) + 4 * stack.size
    assert peak <= declared <= 3 * peak, (peak / stack[0].size, declared / stack[0].size)


def test_declaration():
    spec = spec_of(segment_model)
    assert [(output.name, output.kind) for output in spec.outputs] == [("cells", "labels")]
    assert not spec.changes_image
    assert spec.devices == ("cpu", "gpu")
