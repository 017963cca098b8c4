"""ImageJ itself opens what is written for it: hyperstacks with the right pixels, and ROIs that lie on the objects.

Needs ImageJ 1.x (``ij.jar``, where Debian puts it or where ``IMAGEJ_JAR`` says) and Java with its compiler.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from hcs_steps.storage import PlaneKey, StorageRegistry, StoreSpec
from hcs_steps.storage._unit import COMPRESSORS
from hcs_steps.storage.protocol import ImageMeta

JAR = Path(os.environ.get("IMAGEJ_JAR", "/usr/share/java/ij.jar"))

PROGRAM = r"""
import ij.*; import ij.gui.Roi; import ij.io.RoiDecoder; import ij.process.*;
import java.io.*; import java.nio.file.*; import java.util.zip.*;

public class Look {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            if (file.endsWith(".zip")) { rois(file); continue; }
            ImagePlus image = IJ.openImage(file);
            if (image == null) { System.out.println("not opened"); continue; }
            var scale = image.getCalibration();
            System.out.print(image.getNChannels() + " " + image.getNSlices() + " " + image.getNFrames() + " "
                + image.getBitDepth() + " " + scale.getUnit() + " " + scale.pixelWidth + " " + scale.pixelDepth
                + " " + (image.isComposite() ? ((CompositeImage) image).getModeAsString() : "plain"));
            if (image.isComposite()) for (LUT lut : ((CompositeImage) image).getLuts())
                System.out.print(" " + lut.min + ":" + lut.max + ":" + Integer.toHexString(lut.getRGB(255)));
            System.out.println();
            var out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(file + ".raw")));
            for (int slice = 1; slice <= image.getStackSize(); slice++) {
                ImageProcessor pixels = image.getStack().getProcessor(slice);
                for (int i = 0; i < pixels.getPixelCount(); i++) out.writeFloat(pixels.getf(i));
            }
            out.close();
        }
    }

    static void rois(String file) throws Exception {
        FloatProcessor[] planes = new FloatProcessor[2];
        for (int z = 0; z < 2; z++) planes[z] = new FloatProcessor(50, 40);
        int count = 0;
        try (ZipFile zip = new ZipFile(file)) {
            for (var entries = zip.entries(); entries.hasMoreElements(); count++) {
                ZipEntry entry = entries.nextElement();
                byte[] bytes = zip.getInputStream(entry).readAllBytes();
                Roi roi = new RoiDecoder(bytes, entry.getName()).getRoi();
                String name = roi.getName();
                FloatProcessor plane = planes[roi.getZPosition() - 1];
                plane.setValue(Double.parseDouble(name.substring(name.lastIndexOf('_') + 1).replace(".roi", "")));
                plane.fill(roi);
            }
        }
        System.out.println(count + " ROIs");
        var out = new DataOutputStream(new FileOutputStream(file + ".raw"));
        for (FloatProcessor plane : planes) for (float value : (float[]) plane.getPixels()) out.writeFloat(value);
        out.close();
    }
}
"""

META = ImageMeta({1: "DAPI", 2: "GFP"}, pixel_size_um=0.65, z_step_um=2.0)


@pytest.fixture
def look(tmp_path):
    """``look(paths)``: what ImageJ says of each file, and its pixels as float32."""
    if not JAR.is_file():
        pytest.skip("ImageJ's ij.jar is not there; set IMAGEJ_JAR to it")
    if shutil.which("javac") is None:
        pytest.skip("no Java compiler")
    program = tmp_path / "Look.java"
    program.write_text(PROGRAM)

    def run(paths):
        command = [
            "java",
            "-Djava.awt.headless=true",
            "-Dstdout.encoding=UTF-8",
            "-Dfile.encoding=UTF-8",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            JAR,
            program,
            *paths,
        ]
        done = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), [
            np.fromfile(f"{path}.raw", ">f4").reshape(-1, 40, 50) for path in paths
        ]

    return run


def published(folder, images, labels=None, **options):
    spec = StoreSpec(folder, "P", 8, 12, {"A01": (1,)}, **options)
    StorageRegistry().open("disk", spec).publish("A01", images, {"cells": labels} if labels else {}, META)
    return folder / "A01" / "s1"


def test_imagej_opens_hyperstacks_planes_and_rois(look, tmp_path):
    pytest.importorskip("roifile", reason="roifile writes ImageJ's ROIs")
    from hcs_steps.exports.rois import write_imagej_rois

    rng = np.random.default_rng(0)
    keys = [PlaneKey(1, c, z, 1) for c in (1, 2) for z in (1, 2)]
    images = {key: rng.integers(0, 60_000, (40, 50)).astype(np.uint16) for key in keys}
    labels = {key: rng.integers(0, 3, (40, 50)).astype(np.int32) * 40_000 for key in keys[:2]}
    stack = np.stack([images[PlaneKey(1, c, z, 1)] for z in (1, 2) for c in (1, 2)])
    objects = np.stack([labels[key] for key in keys[:2]])

    hyperstacks, planes = [], []
    for compressor in COMPRESSORS:
        options = {"compressor": compressor, "tiff_files": "well", "tiff_metadata": "imagej"}
        folder = published(tmp_path / compressor, images, labels, **options)
        hyperstacks.append(folder / "A01_s1.tif")
        if compressor != "zstd":  # which ImageJ cannot read, so it is not for OME-TIFF to be opened there
            own = published(tmp_path / f"ome_{compressor}", images, compressor=compressor)
            planes.append(own / "A01_s1_w2_z1_t1.tif")
    rois = tmp_path / "cells.rois.zip"
    write_imagej_rois(rois, labels, name="cells", well="A01", channels=META.channels)
    said, pixels = look([*hyperstacks, *planes, folder / "labels" / "cells.tif", rois])

    for text, values in zip(said[:4], pixels[:4], strict=True):
        *dimensions, unit, width, depth, mode, blue, green = text.split()
        assert dimensions == ["2", "2", "1", "16"]
        assert (unit, float(width), float(depth), mode) == ("micron", pytest.approx(0.65), 2.0, "composite")
        low, high, colour = blue.split(":")
        assert [float(low), float(high)] == pytest.approx(np.percentile(stack[::2], [1.0, 99.8]))
        assert (colour, green[-8:]) == ("ff0000ff", "ff00ff00")
        np.testing.assert_array_equal(values, stack)
    for text, values in zip(said[4:7], pixels[4:7], strict=True):
        *dimensions, unit, width, _, _ = text.split()
        assert (dimensions, unit, float(width)) == (["1", "1", "1", "16"], "µm", pytest.approx(0.65))
        np.testing.assert_array_equal(values[0], images[keys[2]])
    assert said[7].split()[:4] == ["1", "2", "1", "32"]
    np.testing.assert_array_equal(pixels[7], objects)
    assert said[8] == "4 ROIs"
    np.testing.assert_array_equal(pixels[8], objects)
