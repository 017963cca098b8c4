"""Vendors' XML is read without namespaces, without much memory, and without trust."""

from __future__ import annotations

import pytest

from hcs_steps.errors import PlateError
from hcs_steps.plate.xml_files import allowed_bytes, children, iter_xml, parse_xml, read_xml

LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol2 "&lol;&lol;&lol;">]>
<Root>&lol2;</Root>"""
OUTSIDE = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><Root>&x;</Root>'
REMOTE = '<!DOCTYPE Root SYSTEM "http://example.org/evil.dtd"><Root/>'


@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE, REMOTE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_doctype_is_refused_in_any_encoding(tmp_path, text, encoding):
    path = tmp_path / "i.xml"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(PlateError, match="DOCTYPE"):
        read_xml(path)
    with pytest.raises(PlateError, match="DOCTYPE"):
        list(iter_xml(path, "Root"))


def test_names_come_without_namespace_and_texts_stripped(tmp_path):
    path = tmp_path / "i.xml"
    path.write_bytes('\ufeff<r xmlns="http://v7"><Image><URL> a.tiff\n</URL><Row/></Image></r>'.encode())
    (image,) = (children(element) for element in iter_xml(path, "Image"))
    assert image == {"URL": "a.tiff", "Row": ""}


def test_elements_that_were_handed_out_are_let_go(tmp_path):
    path = tmp_path / "i.xml"
    path.write_text("<r><Images>" + "<Image><A>1</A></Image>" * 5000 + "</Images></r>")
    seen, most = 0, 0
    for element in iter_xml(path, "Image", "Images"):
        seen += element.tag == "Image"
        if element.tag == "Images":
            most = len(element)
    assert (seen, most) == (5000, 0)


@pytest.mark.parametrize("content", [b"", b"<r>", b"<r></s>", b"\0" * 1000, b"<r/><r/>", b"\xff\xfe\xff"])
def test_broken_xml_is_a_plate_error(tmp_path, content):
    path = tmp_path / "i.xml"
    path.write_bytes(content)
    with pytest.raises(PlateError, match=r"i\.xml is not well-formed"):
        read_xml(path)


def test_a_sparse_giant_is_not_read(tmp_path):
    path = tmp_path / "Index.xml"
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(PlateError, match="more than its plate can explain"):
        read_xml(path, max_bytes=allowed_bytes(17_280))


def test_a_tower_of_elements_ends(tmp_path):
    path = tmp_path / "i.xml"
    path.write_text("<a>" * 200_000 + "</a>" * 200_000)
    assert [element.tag for element in iter_xml(path, "Image", "a")][-1] == "a"


def test_text_of_a_description():
    assert parse_xml("<a><b>µ</b></a>", source="x.tif")[0].text == "µ"
    with pytest.raises(PlateError, match=r"x\.tif"):
        parse_xml("<a>", source="x.tif")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(PlateError, match="cannot be read"):
        read_xml(tmp_path / "no.xml")
