"""The stage graph: what reads what, drawn as text and as a picture."""

import re
import xml.etree.ElementTree as ElementTree
from argparse import Namespace

import pytest

from hcs_steps.commands import graph as command
from hcs_steps.compile import CompileOptions, compile_plate
from hcs_steps.compile.request import Choice
from hcs_steps.operations.provenance._graph_text import Node, lanes
from hcs_steps.operations.provenance.graph import PLATE, graph_svg, graph_text, stage_graph
from hcs_steps.pipeline import FunctionStep, GlobalPipelineConfig, Pipeline
from hcs_steps.plate.inventory import Inventory, Plane

DISK = {"vfs": {"intermediate_backend": "disk"}}
BRANCHED = [
    FunctionStep("estimate_flatfield", name="flat", scope="plate"),
    FunctionStep("apply_flatfield", name="fix"),
    FunctionStep("segment_nuclei", name="segment"),
    FunctionStep("image_quality", name="quality", input_source="pipeline_start"),
    FunctionStep(
        {"DAPI": "gaussian", "GFP": ["tophat", "gaussian"]}, name="smooth", input_source="pipeline_start"
    ),
]


def compiled(steps, config=DISK, channels=("DAPI", "GFP"), **options):
    numbers = range(1, len(channels) + 1)
    planes = tuple(
        Plane(well, 1, c, 1, 1, f"{well}_{c}.tif", 0, 99, 1, 64, 64, "uint16")
        for well in ("A01", "A02")
        for c in numbers
    )
    inventory = Inventory(
        "/plates/P1", "P1", "test", (), planes, dict(zip(numbers, channels, strict=True)), 8, 12, (1, 1), 0.65,
        "metadata", (), (), (), "d",
    )  # fmt: skip
    pipeline = Pipeline(steps, config=GlobalPipelineConfig(**config))
    return compile_plate(inventory, pipeline, CompileOptions(plate_id="P1", **options))


def by_name(plan):
    return {node.name: node for node in stage_graph(plan)}


def test_stages_say_what_they_read_and_detours_are_not_drawn():
    nodes = by_name(compiled(BRANCHED))
    assert nodes["flat"].reads == (PLATE,)
    assert nodes["fix"].reads == (PLATE, "flat")
    assert nodes["segment"].reads == ("fix",)
    assert nodes["quality"].reads == nodes["smooth"].reads == (PLATE,)
    assert len(nodes["consolidate"].reads) == 5
    assert nodes["consolidate"].drawn == ("segment", "quality", "smooth")
    assert nodes["report"].drawn == ("consolidate",)


def test_the_drawing_has_a_line_for_every_branch():
    drawing = re.sub(r"[\d,]+ MB", "9 MB", graph_text(compiled(BRANCHED)))
    assert drawing.splitlines()[:9] == [
        "●  raw images   2 wells · DAPI, GFP",
        "│",
        "├─╮",
        "│ ●  flat   once for the plate · 9 MB",
        "│ │    reads    raw images",
        "│ │    runs     estimate_flatfield",
        "│ │    writes   table flatfield_quality, array flatfield",
        "│ │",
        "├─┤",
    ]


def test_the_drawing_names_functions_by_channel_images_gates_and_devices():
    gated = [FunctionStep("tophat", name="a", gate=True), *BRANCHED[2:]]
    text = graph_text(compiled(gated))
    assert "gate     the run stops here for people to look" in text
    assert "○  segment   left out: the run stops at the gate a" in text
    text = graph_text(compiled(BRANCHED[2:]))
    assert "runs     DAPI: gaussian; GFP: tophat + gaussian" in text
    assert "images/segment.ome.zarr (images), labels nuclei" in text
    assert "2 units · 2 jobs" in text


def test_what_a_mode_leaves_out_is_said_with_its_reason():
    plan = compiled(BRANCHED, choice=Choice(until="segment"))
    assert by_name(plan)["smooth"].skipped == "it comes after segment"
    assert "smooth   left out: it comes after segment" in graph_text(plan)


def shape(**reads):
    nodes = [Node(name, tuple(sources), (name,)) for name, sources in reads.items()]
    return [line for line in lanes(nodes) if not set(line) <= {"│", " "}]


@pytest.mark.parametrize(
    ("reads", "drawing"),
    [
        ({"a": "", "b": "a", "c": "b"}, ["●  a", "●  b", "●  c"]),
        ({"a": "", "b": "a", "c": "a", "d": "bc"}, ["●  a", "├─╮", "│ ●  b", "● │  c", "├─╯", "●  d"]),
        (
            {"a": "", "b": "a", "c": "a", "d": "a", "e": "bcd"},
            ["●  a", "├─╮", "│ ●  b", "├─┼─╮", "│ │ ●  c", "● │ │  d", "├─╯ │", "├───╯", "●  e"],
        ),
        ({"a": "", "b": "a", "c": "ab"}, ["●  a", "├─╮", "│ ●  b", "├─╯", "●  c"]),
        ({"a": "", "b": "", "c": "b", "d": "ac"}, ["●  a", "│ ●  b", "│ ●  c", "├─╯", "●  d"]),
        ({"a": "", "b": "a", "c": ""}, ["●  a", "●  b", "●  c"]),
    ],
)
def test_lines_fork_cross_and_end(reads, drawing):
    assert shape(**reads) == drawing


def boxes(svg):
    """The rectangles of a picture, (left, top, right, bottom), and the corners that its curves go through."""
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    found = []
    for rect in root.iter(f"{space}rect"):
        x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return root, found


def test_the_picture_has_a_box_for_every_stage_and_none_on_another():
    plan = compiled(BRANCHED)
    root, found = boxes(graph_svg(plan, "P1"))
    assert len(found) == len(plan.stages) + 1
    width, height = float(root.get("width")), float(root.get("height"))
    for number, (left, top, right, bottom) in enumerate(found):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in found[number + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_the_picture_needs_nothing_else_and_is_read_on_light_and_dark_pages():
    svg = graph_svg(compiled(BRANCHED), "P1")
    assert "<script" not in svg
    assert "href" not in svg
    assert "url(" not in svg.replace("url(#arrow)", "")
    assert "@media(prefers-color-scheme:dark)" in svg
    assert graph_svg(compiled(BRANCHED), "P1") == svg


def test_names_of_any_characters_are_text_in_the_picture():
    plan = compiled([FunctionStep("tophat", name="a")], channels=("<script>&", "\x00\ud800é" * 30))
    root, _ = boxes(graph_svg(plan, "<&\x01"))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert any("<script>&" in str(text) for text in texts)
    assert max(map(len, map(str, texts))) < 60


def prepared(monkeypatch, tmp_path, *plans):
    class Prepared:
        def __init__(self, plan):
            self.plan = plan

    monkeypatch.setattr(command, "prepare_plates", lambda settings, root: [Prepared(plan) for plan in plans])
    (tmp_path / "c.yaml").write_text("plates: [{path: x}]\n")
    return lambda **options: command.run(
        Namespace(**{"plate": None, "svg": None, "mode": None, "config": str(tmp_path / "c.yaml"), **options})
    )


def test_plates_with_the_same_graph_are_drawn_once(monkeypatch, tmp_path, capsys):
    from dataclasses import replace

    first, other = compiled(BRANCHED), compiled(BRANCHED[:2])
    twin = replace(first, plate=replace(first.plate, id="P2"))
    last = replace(other, plate=replace(other.plate, id="P3"))
    run = prepared(monkeypatch, tmp_path, first, twin, last)
    assert run() == 0
    told = capsys.readouterr().out
    assert "P1, P2: pipeline" in told
    assert told.count("●  raw images") == 2
    with pytest.raises(command.ConfigError, match="2 different stage graphs"):
        run(svg=str(tmp_path / "g.svg"))


def test_the_picture_is_written_where_it_is_asked_for(monkeypatch, tmp_path, capsys):
    run = prepared(monkeypatch, tmp_path, compiled(BRANCHED))
    assert run(svg=str(tmp_path / "new" / "g.svg")) == 0
    assert (tmp_path / "new" / "g.svg").read_text().startswith("<svg")
    assert capsys.readouterr().out.strip().endswith("g.svg")


def test_a_results_folder_is_drawn_without_a_configuration(tmp_path, capsys):
    plan = compiled(BRANCHED)
    (tmp_path / "plan.json").write_text(plan.to_json())
    arguments = Namespace(plate=str(tmp_path), svg=None, mode=None, config="nowhere.yaml")
    assert command.run(arguments) == 0
    assert graph_text(plan) in capsys.readouterr().out


def test_terminals_without_such_letters_get_plain_ones(monkeypatch, tmp_path, capfd):
    import io
    import sys

    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert prepared(monkeypatch, tmp_path, compiled(BRANCHED))() == 0
    out.seek(0)
    assert "| *  flat   once for the plate , " in out.read()
