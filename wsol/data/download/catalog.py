"""Sources, terms of use and published sizes of the field's data sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RemoteFile:
    """One file on the web, and what it becomes below the data root.

    Attributes:
        url: http or https.
        target: what it becomes, below the data root: for an archive the folder that is in it, else the file itself.
        sha256: hexadecimal, lower case.
        size: in bytes.
        max_bytes: of an archive: bound on what it unpacks to. None: the file is no archive.
    """

    url: str
    target: str
    sha256: str
    size: int
    max_bytes: int | None = None

    @property
    def name(self) -> str:
        """Name of the file in the URL."""
        return self.url.partition("?")[0].rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Source:
    """One data set, or one part of it that is published on its own.

    Attributes:
        name: in the commands.
        title: its published name.
        what: one sentence on what it holds.
        terms: licence and terms of use, as its authors state them.
        files: what is downloaded; empty if it cannot be.
        counts: published numbers of images, classes, boxes, ...
        by_hand: how to get it without this program; `DATA` stands for the data root.
        why_not: why it cannot be downloaded; empty if it can.
        note: advice for its use.
    """

    name: str
    title: str
    what: str
    terms: str
    files: tuple[RemoteFile, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    by_hand: str = ""
    why_not: str = ""
    note: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded without a browser or an account."""
        return not self.why_not

    @property
    def targets(self) -> tuple[str, ...]:
        """Paths below the data root that it creates."""
        return tuple(file.target for file in self.files)

    @property
    def size(self) -> int | None:
        """Bytes to download; None if there is no file."""
        return sum(file.size for file in self.files) or None


_GIB = 2**30

# The field's annotations (Choe et al., CVPR 2020), at the last commit of github.com/clovaai/wsolevaluation. Sizes and
# checksums are of the files at that commit, computed from the repository.
_WSOL_EVALUATION = "https://raw.githubusercontent.com/clovaai/wsolevaluation/96f4b88679af41f005824661f47e6fe3628af2aa"
_METADATA_TERMS = "CC BY 2.0, NAVER Corp. (README of github.com/clovaai/wsolevaluation)"

# "ILSVRC2012 for non-commercial research and educational purposes", image-net.org/download; data sets that are made of
# its images, or say that theirs may be used in the same way, are under the same terms.
_IMAGENET_TERMS = "for non-commercial research and education (terms of access of image-net.org)"


def _metadata(folder: str, files: Mapping[str, tuple[str, int]]) -> tuple[RemoteFile, ...]:
    """Return the text files of one split; `files` has name -> (sha256, size in bytes)."""
    return tuple(
        RemoteFile(f"{_WSOL_EVALUATION}/metadata/{folder}/{name}.txt", f"metadata/{folder}/{name}.txt", sha, size=size)
        for name, (sha, size) in files.items()
    )


_SOURCES = (
    Source(
        name="cub",
        title="CUB-200-2011",
        what="Photographs of 200 bird species with a box, a mask and 15 part locations each (Wah et al., 2011).",
        terms="for non-commercial research and education; the photographs belong to their photographers on Flickr "
        "(vision.caltech.edu/datasets/cub_200_2011)",
        # Sizes and checksums of both archives are in many public downloaders, which agree; search github.com for the
        # md5 97eceeb196236b17998738112f37df78 and 4d47ba1228eae64f2fa547c47bc65255.
        files=(
            RemoteFile(
                "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
                "CUB_200_2011",
                sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                size=1_150_585_339,
                max_bytes=5 * _GIB,
            ),
            RemoteFile(
                "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz",
                "segmentations",
                sha256="dc77f6cffea0cbe2e41d4201115c8f29a6320ecb04fffd2444f51b8066e4b84f",
                size=39_272_883,
                max_bytes=_GIB,
            ),
        ),
        counts={"images": 11_788, "classes": 200, "train": 5_994, "test": 5_794, "boxes": 11_788},
        by_hand="Download CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and segmentations.tgz "
        "from https://data.caltech.edu/records/w9d68-gec53, and unpack both in DATA.",
    ),
    Source(
        name="cubv2",
        title="CUBV2 (images)",
        what="Five more photographs of each species of CUB: the field's split `val` (Choe et al., CVPR 2020).",
        terms="each photograph has its own licence on Flickr (release/CUBV2_image_licenses.txt of "
        "github.com/clovaai/wsolevaluation); class labels CC BY 2.0, NAVER Corp.",
        counts={"images": 1_000, "classes": 200, "boxes": 1_000},
        # dataset/prepare_cub.sh and README of wsolevaluation; the archive has the species' folders at its top.
        by_hand="Open https://drive.google.com/open?id=1U6cwKHS65wayT9FFvoLIA8cn1k0Ot2M1 or https://onedrive.live.com/"
        "download?cid=B7111B95B80CCC66&resid=B7111B95B80CCC66%2130812&authkey=AFMzb4akufUiWU0 in a browser, save "
        "CUBV2.tar, and unpack it in a new folder DATA/CUBV2, so that DATA/CUBV2/001.Black_footed_Albatross is there.",
        why_not="its archive lies on Google Drive and OneDrive, which give it to a browser only",
        note="Its boxes are the source cubv2_boxes.",
    ),
    Source(
        name="cubv2_boxes",
        title="CUBV2 (boxes)",
        what="Image ids, classes, sizes and boxes of CUBV2 (Choe et al., CVPR 2020).",
        terms=_METADATA_TERMS,
        files=_metadata(
            "CUB/val",
            {
                "image_ids": ("455f26689daf2219d42208fba21be12da219c8724eab38482210c4ac2bc57c02", 36_496),
                "class_labels": ("36791366bc002b82df029b8d84500d731ecc4a5dea603250f134e927d7df5748", 39_944),
                "image_sizes": ("b0d5495ba5af9f7b1e34753cc8548be5debb267a3d7803a5408a3bc4d173ef63", 44_555),
                "localization": ("08ff9afa478b3a7e29a15c173e11927c9cb1867b58ae8a541df69a4c0c830ab5", 51_919),
            },
        ),
        counts={"images": 1_000, "classes": 200, "boxes": 1_000},
        by_hand="Copy the folder metadata/CUB/val of github.com/clovaai/wsolevaluation to DATA/metadata/CUB/val.",
        note="Its images are the source cubv2.",
    ),
    Source(
        name="tiny_imagenet",
        title="Tiny ImageNet",
        what="Photographs of 200 classes of ImageNet at 64 x 64 pixels, with a box each (Stanford CS231n).",
        terms=f"of ImageNet's images: {_IMAGENET_TERMS}",
        # Size and checksum agree in many public downloaders; search github.com for the md5
        # 90528d7ca1a48142e341f4ef8d21d0de.
        files=(
            RemoteFile(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                "tiny-imagenet-200",
                sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
                size=248_100_043,
                max_bytes=2 * _GIB,
            ),
        ),
        # "unlabelled" is the official test split.
        counts={"classes": 200, "train": 100_000, "val": 10_000, "boxes": 110_000, "unlabelled": 10_000},
        by_hand="Download http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it in DATA.",
    ),
    Source(
        name="imagenet",
        title="ImageNet (ILSVRC2012, CLS-LOC)",
        what="Photographs of 1,000 classes; those of `val` have boxes (Russakovsky et al., IJCV 2015).",
        terms=_IMAGENET_TERMS,
        # Boxes: of the field's list, metadata/ILSVRC/test/localization.txt of wsolevaluation, which scores on `val`.
        counts={"classes": 1_000, "train": 1_281_167, "val": 50_000, "val_boxes": 80_477},
        # The md5 stand on image-net.org/download and in torchvision.datasets.ImageNet.
        by_hand="With an account at https://image-net.org/download take ILSVRC2012_img_train.tar (md5 "
        "1d675b47d978889d74fa0da5fadfb00e) and ILSVRC2012_img_val.tar (md5 29b22e2961454d5413ddabcf34fc5622), and "
        "unpack them to DATA/ILSVRC/train/<wnid>/ and DATA/ILSVRC/val/; or with one at Kaggle join "
        "https://www.kaggle.com/c/imagenet-object-localization-challenge and unpack its archive in DATA. The boxes of "
        "the field's list are metadata/ILSVRC/test of github.com/clovaai/wsolevaluation.",
        why_not="it takes an account at image-net.org or Kaggle, and consent to its terms",
    ),
    Source(
        name="imagenetv2",
        title="ImageNetV2 (threshold 0.7, images)",
        what="Ten more photographs of each class of ImageNet (Recht et al., ICML 2019): the field's split `val`.",
        terms="the photographs come from Flickr and may be used as those of ImageNet "
        f"(README of github.com/modestyachts/ImageNetV2), {_IMAGENET_TERMS}",
        # The authors moved it here in March 2023 (github.com/modestyachts/ImageNetV2, issue 12); the former
        # s3-us-west-2.amazonaws.com/imagenetv2public answers 403. sha256 and size stand in the commit at Hugging Face
        # that is named in the URL, and in checksums.tsv of tensorflow_datasets. The size, a whole number of blocks of
        # 512 bytes, shows that in spite of its name it is a plain tar.
        files=(
            RemoteFile(
                "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/d626240be2538720e83103a0e1178d24aca8b12c/"
                "imagenetv2-threshold0.7.tar.gz",
                "imagenetv2-threshold0.7-format-val",
                sha256="32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
                size=1_249_906_176,
                max_bytes=5 * _GIB,
            ),
        ),
        counts={"images": 10_000, "classes": 1_000},
        by_hand="Download imagenetv2-threshold0.7.tar.gz from https://huggingface.co/datasets/vaishaal/ImageNetV2 and "
        "unpack it in DATA.",
        # github.com/clovaai/wsolevaluation, issue 42; github.com/modestyachts/ImageNetV2, issues 5 and 6.
        note="Its files were renamed in December 2020, from 0/0.jpeg to 0/<40 hexadecimal digits>.jpeg, and the boxes "
        "(source imagenetv2_boxes) go by the old names; a table of both is in issue 42 of "
        "github.com/clovaai/wsolevaluation.",
    ),
    Source(
        name="imagenetv2_boxes",
        title="ImageNetV2 (threshold 0.7, boxes)",
        what="Image ids, classes, sizes and boxes of ImageNetV2 (Choe et al., CVPR 2020).",
        terms=_METADATA_TERMS,
        files=_metadata(
            "ILSVRC/val",
            {
                "image_ids": ("bcd13383b7fdaa8aa9cfd02228b398802cf64b20f6efe13aa4b0696b9431d993", 158_899),
                "class_labels": ("316209e92831b0dd910432afe74c55f2fb33ed72ade1378d3d0954df325ea51e", 197_799),
                "image_sizes": ("4c82c4c1e14bc7f6a1a8a1fe7ab91df2ec369318b39a8b70618d6bd041cc7410", 238_898),
                "localization": ("4d01d6e9eab27ec860092a43f5b7480f10aadbf21234bd01ae419e9c8181ea3f", 566_431),
            },
        ),
        counts={"images": 10_000, "classes": 1_000, "boxes": 18_532},
        by_hand="Copy the folder metadata/ILSVRC/val of github.com/clovaai/wsolevaluation to DATA/metadata/ILSVRC/val.",
        note="Image ids are the names before December 2020, val2/<class>/<0 to 9>.jpeg; see the source imagenetv2.",
    ),
    Source(
        name="openimages30k",
        title="OpenImages30k",
        what="Photographs of 100 classes of Open Images V5, with masks in `val` and `test` (Choe et al., CVPR 2020).",
        terms="annotations CC BY 4.0, Google LLC; photographs listed as CC BY 2.0",
        counts={"images": 37_319, "classes": 100, "train": 29_819, "val": 2_500, "test": 5_000},
        # dataset/prepare_openimages.sh and README of wsolevaluation.
        by_hand="Open in a browser, for the images, https://drive.google.com/open?id=1oOb4WQ-lb8SYppHEg3lWnpHk1X8WVO4e "
        "or https://onedrive.live.com/download?cid=B7111B95B80CCC66&resid=B7111B95B80CCC66%2130813&authkey="
        "AHgXVPxKxO_5Fvc, and for the masks https://drive.google.com/open?id=1eu1YvcZlsEalhXTS_5Ni5tkImCliIPie or "
        "https://onedrive.live.com/download?cid=B7111B95B80CCC66&resid=B7111B95B80CCC66%2130811&authkey="
        "AMWbBWZVQFbm4jw, and unpack both in a new folder DATA/OpenImages, so that DATA/OpenImages/train is there. "
        "Copy metadata/OpenImages of github.com/clovaai/wsolevaluation to DATA/metadata/OpenImages.",
        why_not="its archives lie on Google Drive and OneDrive, which give them to a browser only",
    ),
)

CATALOG: Mapping[str, Source] = {source.name: source for source in _SOURCES}
