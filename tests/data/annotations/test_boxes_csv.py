import pytest

from trees import edit, write_image
from wsol.data.annotations.boxes_csv import read_csv

TEXT = """image,label,x0,y0,x1,y1,width,height,split
a.jpg,cat,1,2,3,4,40,30,test
b.jpg,dog,0,0,40,30,40,30,test
a.jpg,cat,10,10,12,14,40,30,test
c.jpg,ant,0,0,1,1,10,10,val
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text(TEXT)
    return file


def test_a_line_for_each_box(path):
    truth = read_csv(path, "test")
    assert truth.image_ids.tolist() == ["a.jpg", "b.jpg"]
    assert [boxes.tolist() for boxes in truth.boxes] == [[[1, 2, 3, 4], [10, 10, 12, 14]], [[0, 0, 40, 30]]]
    assert truth.sizes.tolist() == [[30, 40], [30, 40]]
    assert truth.class_names == ("cat", "dog")
    assert truth.class_ids.tolist() == [0, 1]


def test_inclusive_boxes_hold_their_last_pixel(path):
    assert read_csv(path, "test", inclusive=True).boxes[0][0].tolist() == [1, 2, 4, 5]


def test_labels_may_be_class_ids_or_absent(path):
    path.write_text("image,x0,y0,x1,y1,width,height,label\na,0,0,1,1,5,5,7\nb,0,0,1,1,5,5,3\n")
    assert read_csv(path, "test").class_ids.tolist() == [7, 3]
    path.write_text("image,x0,y0,x1,y1,width,height\na,0,0,1,1,5,5\n")
    assert read_csv(path, "test").class_ids.tolist() == [-1]


def test_sizes_may_come_from_the_images(path, tmp_path):
    path.write_text("image,x0,y0,x1,y1\nsub/a.png,0,0,1,1\n")
    write_image(tmp_path / "sub" / "a.png", width=41, height=32)
    assert read_csv(path, None, images=tmp_path).sizes.tolist() == [[32, 41]]
    with pytest.raises(ValueError, match="--images FOLDER"):
        read_csv(path, None)
    with pytest.raises(FileNotFoundError, match=r"nowhere/sub/a\.png"):
        read_csv(path, None, images=tmp_path / "nowhere")


def test_windows_files_are_read(path):
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert len(read_csv(path, "test")) == 2


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "image,label,x0,y0,x1,width,height,split", "y1 is missing"),
        (2, "a.jpg,cat,1,2,3,4,40", "line 2: expected 9 fields"),
        (2, "a.jpg,cat,1,2,3,4,40,30,test,more", "line 2: expected 9 fields"),
        (2, "a.jpg,cat,one,2,3,4,40,30,test", "line 2: expected numbers in x0, y0, x1, y1"),
        (2, "a.jpg,cat,nan,2,3,4,40,30,test", "line 2: expected numbers"),
        (2, "a.jpg,cat,3,2,3,4,40,30,test", "line 2: the box .* is empty"),
        (4, "a.jpg,dog,10,10,12,14,40,30,test", "line 4: image 'a.jpg' had the label 'cat' before"),
        (4, "a.jpg,cat,10,10,12,14,41,30,test", "line 4: width and height must be"),
    ],
)
def test_what_is_malformed_is_named(path, line, text, message):
    edit(path, line, text)
    with pytest.raises(ValueError, match=message):
        read_csv(path, "test")


def test_a_split_without_boxes_is_named(path):
    with pytest.raises(ValueError, match="no box of the split 'train'"):
        read_csv(path, "train")
