"""Archives in memory, good and bad ones, for tests to unpack."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable

FILES = {"birds/images/one.jpg": b"first", "birds/images/two.jpg": b"second image", "birds/boxes.txt": b"1 2 3 4\n"}


def tar_bytes(files, prefix="", **attributes):
    """A plain tar; a value may be a ready TarInfo instead of contents."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, contents in files.items():
            info = contents if isinstance(contents, tarfile.TarInfo) else tarfile.TarInfo(prefix + name)
            body = b"" if isinstance(contents, tarfile.TarInfo) else contents
            if not isinstance(contents, tarfile.TarInfo):
                info.size = len(body)
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(body))
    return stream.getvalue()


def zip_bytes(files, prefix="", compression=zipfile.ZIP_DEFLATED):
    """A zip; a key may be a ready ZipInfo."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, contents in files.items():
            file.writestr(prefix + name if isinstance(name, str) else name, contents)
    return stream.getvalue()


def special(name, kind, linkname=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, linkname
    return info


def tar_gz_bytes(files, prefix=""):
    return gzip.compress(tar_bytes(files, prefix))


MAKERS: dict[str, Callable[..., bytes]] = {"tar": tar_bytes, "tar.gz": tar_gz_bytes, "zip": zip_bytes}


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
