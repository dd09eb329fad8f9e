import pytest

from wsol.data.formats.voc_xml import VocImage, VocObject, parse_voc

# An object of VOC2012 with its parts, whose boxes are not the object's, and corners in another order.
TEXT = """<annotation>
\t<folder>VOC2012</folder>
\t<filename>2011_000003.jpg</filename>
\t<size>
\t\t<width>500</width>
\t\t<height>338</height>
\t\t<depth>3</depth>
\t</size>
\t<object>
\t\t<name>person</name>
\t\t<difficult>1</difficult>
\t\t<bndbox>
\t\t\t<ymax>330.5</ymax>
\t\t\t<xmax>189</xmax>
\t\t\t<xmin>123</xmin>
\t\t\t<ymin>115</ymin>
\t\t</bndbox>
\t\t<part>
\t\t\t<name>head</name>
\t\t\t<bndbox>
\t\t\t\t<xmin>1</xmin>
\t\t\t\t<ymin>2</ymin>
\t\t\t\t<xmax>3</xmax>
\t\t\t\t<ymax>4</ymax>
\t\t\t</bndbox>
\t\t</part>
\t</object>
\t<object>
\t\t<name>bottle</name>
\t\t<bndbox>
\t\t\t<xmin>5</xmin>
\t\t\t<ymin>6</ymin>
\t\t\t<xmax>5</xmax>
\t\t\t<ymax>9</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""


def parse(text):
    return parse_voc(text.encode(), "a.xml")


def test_size_and_objects():
    assert parse(TEXT) == VocImage(
        "2011_000003.jpg",
        (338, 500),
        (
            VocObject("person", (123.0, 115.0, 189.0, 330.5), True, 9),
            VocObject("bottle", (5.0, 6.0, 5.0, 9.0), False, 28),
        ),
    )


@pytest.mark.parametrize("text", [TEXT.replace("\n", "\r\n"), "\ufeff" + TEXT, f"<?xml version='1.0'?>\n{TEXT}"])
def test_windows_line_ends_byte_order_marks_and_declarations(text):
    objects = parse(text).objects
    assert [one.name for one in objects] == ["person", "bottle"]
    assert objects[1].line == 28 + text.startswith("<?")


def test_the_declared_encoding_is_not_followed():
    text = "<?xml version='1.0' encoding='utf-16'?>\n" + TEXT.replace("bottle", "Flasche für Öl")
    assert parse(text).objects[1].name == "Flasche für Öl"


@pytest.mark.parametrize("size", ["<width>0</width><height>338</height>", "<width>0</width><height>0</height>"])
def test_a_size_of_0_is_unknown(size):
    assert parse(TEXT.replace("<width>500</width>\n\t\t<height>338</height>", size)).size is None


def test_no_size_no_filename_and_no_object():
    assert parse("<annotation/>") == VocImage("", None, ())


def test_a_comment_that_looks_like_an_object_costs_the_lines():
    found = parse(TEXT.replace("<folder>", "<!-- <object> --><folder>")).objects
    assert [one.line for one in found] == [None, None]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", r"^a.xml, line 38: is not XML \(no element found"),
        ("<size>", "<size", r"^a.xml, line 5: is not XML"),
        (TEXT, "", r"^a.xml: is empty"),
        (TEXT, " \n", r"^a.xml: is empty"),
        ("annotation>", "annotations>", r"^a.xml: expected the element <annotation>, got <annotations>"),
        ("<xmax>189</xmax>", "", r"^a.xml, line 9, <object>: <xmax> is missing"),
        ("<xmax>189</xmax>", "<xmax>wide</xmax>", r"line 9, <object>: <xmax> expected a number, got 'wide'"),
        ("<xmax>189</xmax>", "<xmax>nan</xmax>", r"line 9, <object>: <xmax> expected a number, got 'nan'"),
        ("<xmax>189</xmax>", "<xmax>122</xmax>", r"line 9, .*expected xmin <= xmax .*, got 123, 115, 122, 330.5"),
        ("<ymax>9</ymax>", "<ymax>5</ymax>", r"line 28, <object>: expected .* ymin <= ymax, got 5, 6, 5, 5"),
        ("<name>bottle</name>", "<name> </name>", r"line 28, <object>: has no <name>"),
        ("<difficult>1<", "<difficult>maybe<", r"line 9, <object>: <difficult> expected 0 or 1, got 'maybe'"),
        ("<width>500</width>", "", r"^a.xml, <size>: <width> is missing"),
        ("<width>500<", "<width>-500<", r"^a.xml: <size> expected whole numbers of pixels, got -500 x 338"),
        ("<width>500<", "<width>0.5<", r"^a.xml: <size> expected whole numbers of pixels, got 0.5 x 338"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old, new, message):
    with pytest.raises(ValueError, match=message):
        parse(TEXT.replace(old, new))


def test_every_message_names_a_remedy():
    with pytest.raises(ValueError, match=r"Correct the file, or unpack its archive again\.$"):
        parse("")


def test_an_object_without_a_box():
    text = TEXT.replace("bndbox>", "box>")
    with pytest.raises(ValueError, match=r"line 9, <object>: expected one <bndbox>, got 0"):
        parse(text)


def test_entities_are_refused_before_they_are_expanded():
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>\n'
    with pytest.raises(ValueError, match=r"^a.xml: has a document type or entities"):
        parse(bomb + TEXT.replace("person", "&c;"))


def test_text_that_is_not_utf_8():
    with pytest.raises(ValueError, match=r"^a.xml: is not UTF-8 text"):
        parse_voc(TEXT.encode("utf-16"), "a.xml")
