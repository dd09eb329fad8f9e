import pytest

from trees import edit
from wsol.data.formats.boxes_csv import by_image, read_boxes_table

TEXT = """image,label,x0,y0,x1,y1,split,width,height
cats/a b.jpg,cat,1,2,3,4,test,40,30
"dogs/c, d.jpg",dog,,,,,train,,
cats/a b.jpg,cat,5,6,7,8.5,test,40,30
dogs/\u00fc.png,dog,0,0,1,1,val,9,8
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(TEXT, encoding="utf-8")
    return file


def test_a_line_for_each_box_and_lines_without_one(path):
    table = read_boxes_table(path)
    assert table.stated is None
    assert [row.image for row in table.rows] == ["cats/a b.jpg", "dogs/c, d.jpg", "cats/a b.jpg", "dogs/\u00fc.png"]
    assert table.rows[1].numbers is None
    assert table.rows[1].size is None
    assert table.rows[0].size == (30, 40)
    images = by_image(table.rows)
    assert images["cats/a b.jpg"].numbers == [(1, 2, 3, 4), (5, 6, 7, 8.5)]
    assert images["cats/a b.jpg"].origins == [f"{path}, line 2", f"{path}, line 4"]
    assert images["dogs/\u00fc.png"].split == "val"


def test_windows_files_are_read(path):
    path.write_bytes(b"\xef\xbb\xbf" + ("# boxes: xywh\n" + TEXT).replace("\n", "\r\n").encode())
    table = read_boxes_table(path)
    assert table.stated == "xywh"
    assert table.rows[0].origin == f"{path}, line 3"
    assert len(table.rows) == 4


@pytest.mark.parametrize(
    "line", ["# boxes: inclusive", "#Boxes:Inclusive", '"# boxes: inclusive",,,,,,', "# boxes: inclusive;"]
)
def test_the_first_line_may_state_the_convention_also_after_a_spreadsheet(path, line):
    path.write_text(f"# made by hand\n{line}\n{TEXT}", encoding="utf-8")
    assert read_boxes_table(path).stated == "inclusive"
    assert read_boxes_table(path).box_format(None) == "inclusive"


def test_columns_x_y_w_h_state_it_too(path):
    path.write_text("image,x,y,w,h\na,1,2,3,4\n")
    table = read_boxes_table(path)
    assert table.stated == "xywh"
    assert table.rows[0].numbers == (1, 2, 3, 4)
    path.write_text("# boxes: edges\nimage,x,y,w,h\na,1,2,3,4\n")
    with pytest.raises(ValueError, match="columns x, y, w, h are xywh, but the line above them is '# boxes: edges'"):
        read_boxes_table(path)


def test_without_any_statement_boxes_are_edges(path):
    assert read_boxes_table(path).box_format(None) == "edges"
    assert read_boxes_table(path).box_format("normalized") == "normalized"


def test_file_and_option_may_not_contradict_each_other(path):
    path.write_text(f"# boxes: inclusive\n{TEXT}", encoding="utf-8")
    assert read_boxes_table(path).box_format("inclusive") == "inclusive"
    with pytest.raises(ValueError, match="states that its boxes are inclusive, but box_format is xywh"):
        read_boxes_table(path).box_format("xywh")


def test_an_unknown_convention_is_named(path):
    with pytest.raises(ValueError, match="box_format must be one of edges, inclusive, xywh, normalized, got 'yolo'"):
        read_boxes_table(path).box_format("yolo")  # type: ignore[arg-type]
    path.write_text(f"# boxes: yolo\n{TEXT}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"line 1: boxes can be edges, .*, got 'yolo'"):
        read_boxes_table(path)


def test_blank_lines_of_a_spreadsheet_are_passed_over(path):
    path.write_text(TEXT + ",,,,,,,,\n\n", encoding="utf-8")
    assert len(read_boxes_table(path).rows) == 4


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "image;label;x0;y0;x1;y1", "separated by semicolons; save it with commas"),
        (1, "image,label,x0,y0,width,height", r"x1, y1 are missing \(width and height are of the image"),
        (1, "image,label,x0,y0,x1,y1,split,width,label", "names the column 'label' twice"),
        (1, "image,label,x0,y0,x1,y1,split,width,tall", "names one of width and height"),
        (2, ",cat,1,2,3,4,test,40,30", "line 2: names no image"),
        (2, "a,cat,1,2,3,4,test", "line 2: expected 9 fields as in the first line, got 7"),
        (2, "a,cat,1,2,,4,test,40,30", "line 2: expected numbers in x0, y0, x1, y1"),
        (2, "a,cat,1,2,inf,4,test,40,30", "line 2: expected numbers in x0, y0, x1, y1"),
        (2, "a,cat,1,2,3,4,test,40,", "line 2: expected numbers in width, height"),
        (2, "a,cat,1,2,3,4,test,0,30", "line 2: width and height must be whole numbers of at least 1"),
        (2, "a,cat,1,2,3,4,test,40.5,30", "line 2: width and height must be whole numbers"),
    ],
)
def test_what_is_malformed_is_named(path, line, text, message):
    edit(path, line, text)
    with pytest.raises(ValueError, match=message):
        read_boxes_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cats/a b.jpg,dog,5,6,7,8,test,40,30", "line 4: image 'cats/a b.jpg' had the label 'cat' before"),
        ("cats/a b.jpg,cat,5,6,7,8,val,40,30", "line 4: image 'cats/a b.jpg' had the split 'test' before"),
        ("cats/a b.jpg,cat,5,6,7,8,test,41,30", "line 4: width and height must be one and the same"),
    ],
)
def test_an_image_has_one_label_split_and_size(path, text, message):
    edit(path, 4, text)
    rows = read_boxes_table(path).rows
    with pytest.raises(ValueError, match=message):
        by_image(rows)


def test_other_text_than_utf_8_is_named(path):
    path.write_bytes(TEXT.encode("latin-1"))
    with pytest.raises(ValueError, match=r"boxes.csv is not UTF-8 text .*save it as CSV UTF-8"):
        read_boxes_table(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No CSV file at .*none\.csv"):
        read_boxes_table(tmp_path / "none.csv")
