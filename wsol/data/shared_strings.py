"""Many strings in two arrays, which processes share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Strings(Sequence[str]):
    """N strings as one run of UTF-8 bytes.

    A list of a million Python strings takes 100 MB, and as much again in every loader process: looking at one changes
    its count of references, and so the memory page that contains it is copied. Two tensors are never copied: forked
    processes go on reading the same pages, and spawned ones are handed them as shared memory.
    """

    data: Tensor  # (bytes,) uint8
    ends: Tensor  # (N + 1,) int64; string i is data[ends[i]:ends[i + 1]]

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Strings":
        """Make it of Python strings."""
        return cls.from_arrow(pa.array(strings, pa.large_string()))

    @classmethod
    def from_arrow(cls, array: pa.Array | pa.ChunkedArray) -> "Strings":
        """Make it of an Arrow array of strings without nulls."""
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        array = array.cast(pa.large_string())
        _, ends, data = array.buffers()
        if len(array) == 0 or data is None:
            return cls(torch.zeros(0, dtype=torch.uint8), torch.zeros(len(array) + 1, dtype=torch.int64))
        # Nothing is copied: at a million strings that would be felt. DLPack hands Arrow's memory to torch.
        offsets = torch.from_dlpack(pa.Array.from_buffers(pa.int64(), len(array) + 1, [None, ends], 0, array.offset))
        text = torch.from_dlpack(pa.Array.from_buffers(pa.uint8(), len(data), [None, data], 0))
        first, last = int(offsets[0]), int(offsets[-1])
        return cls(text[first:last], offsets - first if first else offsets)

    def to_arrow(self) -> pa.Array:
        """Return an Arrow array that reads the same memory."""
        ends, data = (pa.py_buffer(tensor.numpy()) for tensor in (self.ends, self.data))
        return pa.Array.from_buffers(pa.large_string(), len(self), [None, ends, data])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        place = range(len(self))[index]
        return self.data[self.ends[place] : self.ends[place + 1]].numpy().tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        yield from self.to_arrow().to_pylist()

    def __eq__(self, other: object) -> bool:
        """Compare with other strings or a list of them."""
        if isinstance(other, Strings):
            return torch.equal(self.ends, other.ends) and torch.equal(self.data, other.data)
        return isinstance(other, list) and list(self) == other

    __hash__ = None  # type: ignore[assignment]

    def select(self, places: NDArray[np.int64]) -> "Strings":
        """Return the strings at these places, in this order."""
        return Strings.from_arrow(self.to_arrow().take(pa.array(places, pa.int64())))

    def first_match(self, pattern: str) -> str | None:
        """Return the first string that contains a match of an RE2 pattern; None if there is none."""
        array = self.to_arrow()
        place = pc.index(pc.match_substring_regex(array, pattern), True).as_py()
        return array[place].as_py() if place >= 0 else None

    def twice(self) -> str | None:
        """Return a string that occurs more than once; None if all differ."""
        array = self.to_arrow()
        if pc.all(pc.less(array[:-1], array[1:])).as_py():  # files are listed in order, and this is quickly seen
            return None
        counts = array.value_counts() if pc.count_distinct(array).as_py() < len(self) else []
        return next((count["values"].as_py() for count in counts if count["counts"].as_py() > 1), None)

    def shared(self, other: "Strings") -> str | None:
        """Return a string that occurs in both; None if there is none."""
        many, few = sorted((self, other), key=len, reverse=True)
        both = many.to_arrow().filter(pc.is_in(many.to_arrow(), few.to_arrow()))
        return both[0].as_py() if len(both) else None
