"""The namings that are recognised without configuration: what each reads, and that it reads no other's names."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import tifffile

from hcs_steps.plate import NAMED_PATTERNS, detect, inventory_json, list_files, open_plate
from hcs_steps.plate.listing import FileEntry
from hcs_steps.plate.synthetic import make_plate

SAMPLES = {
    "cellomics": (
        "AS_09047_050428030001_O01f00d2.TIF",
        "MFGTMP-PC_120101230001_A01f00d0.TIF",
        "020506platerun_A01f01d2.TIF",
        "A01f01d2.TIF",
        "020506plateruni3t001A01f01d2.TIF",
        "i3t001A01f01d2.tif",
        "my plate_D03f120d10.tiff",
    ),
    "evos": ("scan_R_p2_z1_0_B03f01d0.tif", "LiveDead2_Bottom Slide_TR_p00_0_A01f00d3.TIF"),
    "gen5": (
        "D6_01_1_2_DAPI_001.tif",
        "A1_01_1_1_Phase Contrast_001.tif",
        "A9_-1_2_1_GFP_001.tif",
        "B2_03_2_1Z3_GFP_014.tif",
        "E5_01_4_1Z0_Confocal CY5_001.tif",
        "A1ROI1_02_1_1_Bright Field_High Contrast_003.tif",
        "A1ROI2_01_1_2Z2_Confocal RFP_001.tif",
    ),
    "gen5-processed": (
        "A1_-1_1_1_Tsf[Phase Contrast]_001.tif",
        "A1_-2_1_1_Tsf[Stitched[Channel1 300,400]]_001.tif",
    ),
    "gen5-old": (
        "A1_1Z0_DAPI_1_001_.tif",
        "B2_1_Bright Field_1_001_02.tif",
        "A1_1_Stitched[AandB_Phase Contrast]_1_001_-1.tif",
    ),
    "bbbc": ("Channel1-01-A-01.tif", "Channel2-96-H-12.TIF"),
    "leica-matrix": (
        "image--L0000--S00--U08--V07--J13--E00--O00--X01--Y01--T0000--Z06--C01.ome.tif",
        "image--L00--S00--U00--V00--J102--E00--O00--X00--Y01--T00--Z00--C15.tif",
    ),
    "incucyte": ("VID289_A1_1_2019y01m09d_12h00m.tif", "my scan_phase_P24_16_2019y01m09d_12h00m.tif"),
    "incucyte-elapsed": ("NK_Phase_A7_1_00d12h30m.tif",),
    "incucyte-archive": ("EssenFiles/ScanData/1901/09/1200/644/A1-1-Ph.tif", "1901/09/1200/644/H12-4-C1.tif"),
    "bd-pathway": ("Well A01/DAPI - n000000.tif", "run 1/Well H12/Transmitted Light - n000000.tif"),
    "squid": ("0/B2_0_0_Fluorescence_488_nm_Ex.tiff", "run/12/A11_3_4_BF_LED_matrix_full.tiff"),
    "acquifer": (
        "-A002--PO01--LO001--CO6--SL001--PX32500--PW0080--IN0020--TM281--X023590--Y011262--Z211710"
        "--T0200262822--WE00002.tif",
        "WE00020---B005--PO01--LO001--CO6--SL010--PX16250--PW0040--IN0020--TM246--X050299--Y019906--Z212275"
        "--T1375574652.tif",
    ),
}
FOREIGN = (
    "plate_A01_s1_w1.TIF",
    "plate_A01_s1_w1E94C24BD-45E4-450A-9919-257C714278F7.tif",
    "TimePoint_1/ZStep_2/plate_A01_w2.TIF",
    "r03c03f01p01-ch1sk1fk1fl1.tiff",
    "001001-1-001001001.tif",
    "x_D08_T0001F001L01A01Z01C01.tif",
    "W0262F0001T0001Z000C2.tif",
    "A - 01(fld 01 wv DAPI - DAPI).tif",
    "A - 1(fld 1 wv UV - DAPI z 3 time 2 - 2636ms).tif",
    "A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    "ImageName_t01_p01.tif",
    "t000.tif",
    "A01.tif",
    "A1_01.tif",
    "Series002_z00_ch00.tif",
    "img_channel000_position000_time000000000_z000.tif",
    "DAPI - n000001.tif",
    "AS_09125_050116000001_A01f00d0_mask.tif",
)


def images(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, np.zeros((4, 4), "uint8"))


def keys(inventory):
    return {plane.path: tuple(plane[:5]) for plane in inventory.planes}


# All of them


def test_every_pattern_has_samples():
    assert set(SAMPLES) == set(NAMED_PATTERNS)


@pytest.mark.parametrize("name", NAMED_PATTERNS)
def test_a_pattern_fits_its_own_names_and_no_others(name):
    spec = NAMED_PATTERNS[name]
    for owner, samples in {**SAMPLES, "foreign": FOREIGN}.items():
        for sample in samples:
            fits = spec.fits(FileEntry(sample, 1, 1))
            assert fits == (owner == name), f"{name} and {sample}"


@pytest.mark.parametrize("name", NAMED_PATTERNS)
def test_its_samples_are_detected(tmp_path, name):
    images(tmp_path, *SAMPLES[name])
    (reader, evidence), *_ = detect.detect(list_files(tmp_path))
    assert (reader.name, evidence.score) == (name, 1.0)


@pytest.mark.parametrize("name", NAMED_PATTERNS)
def test_no_name_takes_long(name):
    spec = NAMED_PATTERNS[name]
    units = (
        *("A1_1_1_1_", "_0", "A01_001", "_R_p1_", "[", "]", "Well A01/", "0/A1_1_1_BF_", "x_R_p0_0_A01f00"),
        *("_", "0/", "image--L", "A01f00o1", "1", "_000", "i3t001", "Channel1-", "1901/09/1200/644/"),
        *("-A001--PO01--", "x_A1_1_00d00h", "_p1_1_A01f", "A1_01_1_1_x[", " - n000000"),
    )
    begin = time.perf_counter()
    for start in (
        "",
        "A1_01_1_1_",
        "A1_01_1_1_x[",
        "Well A01/",
        "0/A1_1_1_BF_",
        "-A001--PO01--LO001--CO6--SL001--PX1--",
    ):
        for unit in units:
            entry = FileEntry((start + unit * 1000)[:1000], 1, 1)
            spec.fits(entry)
            spec.excludes(entry)
    assert time.perf_counter() - begin < 30  # a pattern that backtracks takes years


def test_the_names_of_a_large_plate_fit_one_pattern_only():
    names = [
        f"AS_09047_050428030001_{row}{column:02d}f{field:02d}d{dye}.TIF"
        for row in "ABCDEFGHIJKLMNOP"
        for column in range(1, 25)
        for field in range(9)
        for dye in range(5)
    ]
    entries = [FileEntry(name, 1, 1) for name in names]
    fitting = {name: sum(map(spec.fits, entries)) for name, spec in NAMED_PATTERNS.items()}
    assert {name for name, count in fitting.items() if count} == {"cellomics"}
    assert fitting["cellomics"] == 17280


@pytest.mark.parametrize("layout", ["cellomics", "gen5", "bbbc"])
def test_a_made_plate_is_read_back(tmp_path, layout):
    sites = (1, 1) if layout == "bbbc" else (2, 2)
    make_plate(tmp_path / "P", wells=["B02", "H12"], sites=sites, shape=(16, 16), layout=layout)
    inventory = open_plate(tmp_path / "P")
    assert inventory.format == layout
    assert inventory.wells == ("B02", "H12")
    assert inventory.values("site") == tuple(range(1, 1 + sites[0] * sites[1]))
    assert inventory.values("channel") == (1, 2)
    assert inventory.problems == inventory.disagreements == ()
    if layout == "gen5":
        assert inventory.channels == {1: "DAPI", 2: "GFP"}
        assert inventory.grid_dimensions == (2, 2)
        assert inventory.pixel_size_um == pytest.approx(0.65)


# One by one


def test_arrayscan(real_data):
    inventory = open_plate(real_data("arrayscan_transfluor_multisite"))
    assert inventory.format == "cellomics"
    assert inventory.wells == ("O01", "O02")
    assert inventory.values("site") == (0, 1, 2)
    assert inventory.channels == {2: "w2"}
    assert (inventory.rows, inventory.columns) == (16, 24)
    assert len(inventory.planes) == 6
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(512, 512, "uint8")}
    assert math.isnan(inventory.pixel_size_um)
    assert inventory.problems == ()
    # The images are colour-table TIFFs, whose table is not applied.
    assert [("palette" in each) for each in inventory.disagreements] == [True]


def test_arrayscan_kinetic_and_overlays(tmp_path, problems):
    images(
        tmp_path, *(f"P1i3t{t:03d}A01f00d0.TIF" for t in (1, 2)), "P1i3t001A01f00o1.TIF", "P1_A01f00o1.TIF"
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "cellomics"
    assert keys(inventory) == {f"P1i3t{t:03d}A01f00d0.TIF": ("A01", 0, 0, 1, t) for t in (1, 2)}
    assert problems(inventory, "excluded") == ["P1_A01f00o1.TIF", "P1i3t001A01f00o1.TIF"]


def test_two_arrayscan_plates_in_one_folder(tmp_path):
    images(tmp_path, "P1_A01f00d0.TIF", "P2_A01f00d0.TIF")
    with pytest.raises(ValueError, match=r"2 plates \('P1', 'P2'\)"):
        open_plate(tmp_path)


def test_evos(tmp_path, problems):
    stem = "exp 1_Plate_{}_p00_z0{}_0_A01f0{}d{}.TIF"
    images(
        tmp_path,
        *(stem.format("R", z, f, d) for z in (0, 1) for f in (0, 1) for d in (0, 1)),
        "exp 1_Plate_D_p00_z00_0_A01f00d0.TIF",
        "exp 1_Plate_M_p00_z00_0_A01f00d0.TIF",
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "evos"
    assert keys(inventory)[stem.format("R", 1, 0, 1)] == ("A01", 0, 1, 2, 0)
    assert inventory.values("z_index") == (1, 2)
    assert len(problems(inventory, "excluded")) == 2


def test_cytation(real_data):
    inventory = open_plate(real_data("cytation_nf1_cellpainting/images"))
    assert inventory.format == "gen5"
    assert inventory.wells == ("D06", "D07")
    assert inventory.channels == {1: "DAPI", 2: "GFP", 3: "RFP"}
    assert {(p.well, p.site) for p in inventory.planes} == {("D06", 2), ("D07", 1)}
    assert inventory.values("timepoint") == (1,)
    assert len(inventory.planes) == 6
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(904, 1224, "uint16")}
    assert math.isnan(inventory.pixel_size_um)
    assert inventory.problems == inventory.disagreements == ()


def test_cytation_with_names_of_the_users_own(real_data):
    inventory = open_plate(
        real_data("cytation_nf1_cellpainting/images"),
        pattern={
            "regex": r"(?P<well>[A-P]\d+)_\d+_\d_(?P<site>\d)_(?P<channel>[A-Z]+)_(?P<time>\d+)\.tif",
            "channels": {"GFP": "actin", "DAPI": "DNA", "RFP": "mito"},
        },
    )
    assert inventory.wells == ("D06", "D07")
    assert inventory.channels == {1: "actin", 2: "DNA", 3: "mito"}


def test_gen5_read_steps_are_channels_of_their_own(tmp_path):
    images(tmp_path, "A1_01_1_1_DAPI_001.tif", "A1_01_2_1_GFP_001.tif", "A1_02_1_1_DAPI_001.tif")
    inventory = open_plate(tmp_path)
    assert inventory.channels == {1: "DAPI 01", 2: "GFP 01", 3: "DAPI 02"}
    assert inventory.problems == ()


def test_gen5_stacks_and_regions(tmp_path):
    names = [
        f"A1ROI{region}_01_{number}_{site}Z{z}_Confocal {name}_001.tif"
        for region in (1, 2)
        for site in (1, 2)
        for z in (0, 1, 2)
        for number, name in ((1, "DAPI"), (2, "RFP"))
    ]
    images(tmp_path, *names)
    inventory = open_plate(tmp_path)
    assert inventory.values("site") == (1, 2, 3, 4)
    assert inventory.values("z_index") == (1, 2, 3)
    assert inventory.channels == {1: "Confocal DAPI", 2: "Confocal RFP"}
    assert keys(inventory)["A1ROI2_01_2_1Z2_Confocal RFP_001.tif"] == ("A01", 3, 2, 3, 1)
    assert inventory.problems == ()


def test_gen5_computed_images_beside_the_originals(tmp_path, problems):
    originals = [f"A1_01_{n}_1_{name}_001.tif" for n, name in ((1, "DAPI"), (2, "GFP"))]
    computed = [f"A1_-1_{n}_1_Stitched[{name} 377,447]_001.tif" for n, name in ((1, "DAPI"), (2, "GFP"))]
    images(tmp_path, *originals, *computed)
    inventory = open_plate(tmp_path)
    assert inventory.format == "gen5"
    assert inventory.channels == {1: "DAPI", 2: "GFP"}
    assert problems(inventory, "excluded") == computed
    chosen = open_plate(tmp_path, format="gen5-processed")
    assert chosen.channels == {1: "Stitched[DAPI 377,447]", 2: "Stitched[GFP 377,447]"}
    assert problems(chosen, "unparsed") == originals


def test_gen5_computed_images_alone(tmp_path):
    images(tmp_path, *(f"{well}_-1_1_1_Tsf[DAPI]_001.tif" for well in ("A1", "A2")))
    inventory = open_plate(tmp_path)
    assert inventory.format == "gen5-processed"
    assert inventory.channels == {1: "Tsf[DAPI]"}


def test_old_gen5_names(tmp_path):
    images(tmp_path, *(f"A1_2Z{z}_DAPI_3_00{t}_.tif" for z in (0, 1) for t in (1, 2)))
    inventory = open_plate(tmp_path)
    assert inventory.format == "gen5-old"
    assert keys(inventory)["A1_2Z1_DAPI_3_002_.tif"] == ("A01", 2, 3, 2, 2)
    assert inventory.channels == {3: "DAPI"}


def test_bbbc013(real_data):
    inventory = open_plate(real_data("bbbc013_fkhr_translocation/images"), channels={1: "GFP", 2: "DNA"})
    assert inventory.format == "bbbc"
    assert "96 of 96" in inventory.evidence[0]
    assert len(inventory.wells) == 48
    assert {well[0] for well in inventory.wells} == set("ABEF")
    assert inventory.channels == {1: "GFP", 2: "DNA"}
    assert {(p.height, p.width, p.dtype) for p in inventory.planes} == {(640, 640, "uint8")}
    assert math.isnan(inventory.pixel_size_um)
    assert inventory.pixel_size_source == "unknown"
    assert inventory_json(inventory)["pixel_size_um"] is None
    assert inventory.problems == inventory.disagreements == ()
    # The number in the name counts the images row by row, so it repeats what row and column say.
    for plane in inventory.planes:
        _, count, row, column = plane.path.removesuffix(".tif").split("-")
        assert int(count) == 12 * (ord(row) - ord("A")) + int(column)
        assert plane.well == f"{row}{column}"


def test_palette_images_are_noted(real_data):
    inventory = open_plate(real_data("bbbc013_fkhr_translocation/as_delivered_palette_tiff"))
    assert inventory.wells == ("A12",)
    assert any("palette" in sentence for sentence in inventory.disagreements)


def test_leica_matrix(tmp_path):
    stem = "slide--S00/chamber--U{u:02d}--V{v:02d}/field--X{x:02d}--Y{y:02d}/image--L0000--S00--U{u:02d}--V{v:02d}"
    stem += "--J08--E00--O00--X{x:02d}--Y{y:02d}--T0000--Z{z:02d}--C{c:02d}.ome.tif"
    images(
        tmp_path,
        *(
            stem.format(u=u, v=v, x=x, y=y, z=z, c=c)
            for u, v in ((0, 0), (11, 7))
            for x in (0, 1, 2)
            for y in (0, 1)
            for z in (0, 1)
            for c in (0, 1)
        ),
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "leica-matrix"
    assert inventory.wells == ("A01", "H12")
    assert inventory.grid_dimensions == (2, 3)
    assert keys(inventory)[stem.format(u=11, v=7, x=2, y=1, z=1, c=1)] == ("H12", 6, 1, 2, 0)
    assert inventory.values("z_index") == (1, 2)
    assert inventory.problems == ()


def test_leica_jobs_are_channels_of_their_own(tmp_path):
    stem = "image--L0000--S00--U00--V00--J{}--E00--O00--X00--Y00--T0000--Z00--C0{}.ome.tif"
    images(tmp_path, *(stem.format(job, c) for job in ("07", "15") for c in (0, 1)))
    inventory = open_plate(tmp_path)
    assert len(inventory.planes) == 4
    assert inventory.channels[3] == "0 J15--E00--O00"
    assert inventory.problems == ()


def test_incucyte(tmp_path):
    images(
        tmp_path,
        *(
            f"{name}_{well}_{site}_2019y01m{day}d_{hour}h00m.tif"
            for name in ("VID289_phase", "VID289_green")
            for well in ("A1", "P24")
            for site in (1, 2)
            for day, hour in (("09", "22"), ("10", "00"))
        ),
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "incucyte"
    assert inventory.wells == ("A01", "P24")
    assert inventory.channels == {1: "VID289_green", 2: "VID289_phase"}
    assert {(p.timepoint, p.time_s) for p in inventory.planes} == {(1, 0.0), (2, 7200.0)}
    assert inventory.metadata["time_interval_s"] == "7200"


def test_incucyte_elapsed(tmp_path):
    images(tmp_path, *(f"phase_A1_1_{time}.tif" for time in ("00d00h00m", "00d22h00m", "01d00h00m")))
    inventory = open_plate(tmp_path)
    assert inventory.format == "incucyte-elapsed"
    assert [(p.timepoint, p.time_s) for p in inventory.planes] == [(1, 0.0), (2, 79200.0), (3, 86400.0)]


def test_incucyte_archive(tmp_path):
    images(
        tmp_path,
        *(
            f"EssenFiles/ScanData/{time}/644/A1-{site}-{channel}.tif"
            for time in ("1901/09/2200", "1901/10/0000")
            for site in (1, 2)
            for channel in ("C1", "Ph")
        ),
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "incucyte-archive"
    assert inventory.channels == {1: "C1", 2: "Ph"}
    assert {(p.timepoint, p.time_s) for p in inventory.planes} == {(1, 0.0), (2, 7200.0)}
    images(tmp_path, "EssenFiles/ScanData/1901/09/2200/645/A1-1-C1.tif")
    with pytest.raises(ValueError, match=r"2 plates \('644', '645'\)"):
        open_plate(tmp_path)


def test_bd_pathway(tmp_path):
    images(
        tmp_path,
        *(f"Well {well}/{name} - n000000.tif" for well in ("A01", "B12") for name in ("DAPI", "GFP")),
    )
    inventory = open_plate(tmp_path)
    assert inventory.format == "bd-pathway"
    assert inventory.wells == ("A01", "B12")
    assert inventory.channels == {1: "DAPI", 2: "GFP"}


def test_bd_pathway_series_are_not_guessed_at(tmp_path):
    images(tmp_path, *(f"Well A01/DAPI - n00000{number}.tif" for number in range(3)))
    with pytest.raises(ValueError, match="is unknown"):
        open_plate(tmp_path)


def test_squid(tmp_path):
    names = [
        f"{time}/{well}_{site}_{z}_Fluorescence_{wave}_nm_Ex.tiff"
        for time in (0, 1)
        for well in ("B2", "C3")
        for site in (0, 1)
        for z in (0, 1)
        for wave in (405, 488)
    ]
    images(tmp_path, *names)
    inventory = open_plate(tmp_path)
    assert inventory.format == "squid"
    assert keys(inventory)["1/C3_0_1_Fluorescence_488_nm_Ex.tiff"] == ("C03", 0, 2, 2, 1)
    assert inventory.channels == {1: "Fluorescence_405_nm_Ex", 2: "Fluorescence_488_nm_Ex"}
    assert inventory.problems == ()


def test_acquifer(tmp_path):
    images(tmp_path, *SAMPLES["acquifer"])
    inventory = open_plate(tmp_path)
    assert sorted(keys(inventory).values()) == [("A02", 1, 6, 1, 1), ("B05", 1, 6, 10, 1)]
