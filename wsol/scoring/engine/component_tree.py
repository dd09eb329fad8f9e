"""Find the connected components above every level of a map, all levels in one pass.

A map is cut into *segments*: pieces of a row that rise and then fall. Above any level a segment is one run of pixels,
so segments stand for pixels from here on. Two segments that touch are connected below some level, found by bisection,
since between their peaks one only falls and the other only rises. A segment that touches a higher one at its own peak
is never a component by itself; it joins the *basin* of the higher one. What is left are the basins of the regional
maxima and the levels at which they merge (Kruskal, highest level first): the component tree. A smooth map has few of
them, and each pixel is looked at only when rows are cut and when a basin's profiles are taken.

All compiled functions that call each other stand in this one file: Numba keeps what it compiled until the caller's file
changes, so that a change in a file of helpers would go unnoticed.

A component at level l is where values > l. It is `basin` b for death[b] <= l < peak[b].
"""

import numpy as np
from numba import njit

# Bytes for the profiles of one map's basins. Beyond it (4,100 basins at 224 x 224: noise) `pixel_components`, which
# needs none, is the faster one.
MEMORY = 1 << 24
# From this number of basins on, some are always alike, and the search for an easy answer costs more than it saves.
MANY = 128
# Not literals, for which Numba would compile functions anew.
NO, YES = np.bool_(False), np.bool_(True)


@njit(cache=True, nogil=True)
def component_boxes(values, levels, islands):
    """Return the box of every component at every level.

    Args:
        values: (H, W) int16 in 0 ... levels.
        levels: L, how many levels l = 0 ... L - 1 are asked for.
        islands: of 4-connected components those that do not touch the map's border: holes, in an inverted map.
            Otherwise all 8-connected ones.

    Returns:
        done: False if the map is too rough for the memory; the rest is empty then.
        boxes: (M, 4) int32 tight boxes as edges.
        first, stop: (M,) int32; box m is that of one component for the levels first[m] ... stop[m] - 1.
    """
    segments = _cut_rows(values)
    tree = _grow_tree(values, segments, islands, levels)
    _, peak, death, _ = tree
    outside = 0 if islands else -1
    if _needs(values, len(peak), levels) > MEMORY:
        return False, np.empty((0, 4), np.int32), np.empty(0, np.int32), np.empty(0, np.int32)
    extent = _extents(values, segments, tree, levels, outside)
    most = 0
    for basin in range(len(peak)):
        if basin != outside:
            most += max(peak[basin] - death[basin], 0)
    boxes, first, stop = np.empty((most, 4), np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    size = 0
    for basin in range(len(peak)):
        if basin == outside:
            continue
        for level in range(death[basin], peak[basin]):
            same = level > death[basin]
            for edge in range(4):
                same = same and extent[basin, edge, level] == extent[basin, edge, level - 1]
            if same:
                stop[size - 1] = level + 1
            else:
                for edge in range(4):
                    boxes[size, edge] = extent[basin, edge, level]
                first[size], stop[size] = level, level + 1
                size += 1
    return True, boxes[:size], first[:size], stop[:size]


@njit(cache=True, nogil=True)
def largest_boxes(values, levels, polygon):
    """Return the largest 8-connected component at every level.

    Args:
        values: (H, W) int16 in 0 ... levels.
        levels: L.
        polygon: compare areas of polygons through pixel centres with holes filled, and of equals take the component
            whose first pixel in raster order comes last; otherwise count pixels, and of equals take the one whose
            first pixel comes first.

    Returns:
        As `component_boxes`, at most one box per level.
    """
    filled = not polygon
    while True:
        segments = _cut_rows(values)
        tree = _grow_tree(values, segments, NO, levels)
        _, peak, death, _ = tree
        if _needs(values, len(peak), levels) > MEMORY:
            return False, np.empty((0, 4), np.int32), np.empty(0, np.int32), np.empty(0, np.int32)
        lowest, highest = 0, levels
        if filled or len(peak) < MANY:
            extent = _extents(values, segments, tree, levels, -1)
            rivals = _rivals(values, segments, tree, extent, polygon)
            if filled or len(rivals) == 0:
                break
            # Filling holes changes areas, not the outermost boxes: it can wait until areas are compared.
            lowest, highest = death[rivals].min(), peak[rivals].max()
        holes, values = _fill(values, levels, lowest, highest)
        filled = True
        if not holes and len(peak) < MANY:
            break
    owner = np.zeros(levels, np.int32)  # basin 0 has the highest peak and never ends
    owner[peak[0] :] = -1
    if len(rivals) > 0:
        area = _areas(values, segments, tree, levels, death[rivals].min(), polygon)
        for basin in rivals:
            for level in range(death[basin], peak[basin]):
                best = owner[level]
                if area[basin, level] > area[best, level]:
                    owner[level] = basin
                elif area[basin, level] == area[best, level]:
                    rival, champion = extent[basin, 1, level], extent[best, 1, level]
                    if rival == champion:
                        rival = _first_column(values, segments, tree, rival, level, basin)
                        champion = _first_column(values, segments, tree, champion, level, best)
                    if (rival > champion) == polygon:
                        owner[level] = basin
    boxes, first, stop = np.empty((levels, 4), np.int32), np.empty(levels, np.int32), np.empty(levels, np.int32)
    size = 0
    for level in range(peak[0]):
        same = size > 0
        for edge in range(4):
            same = same and extent[owner[level], edge, level] == boxes[size - 1, edge]
        if same:
            stop[size - 1] = level + 1
        else:
            for edge in range(4):
                boxes[size, edge] = extent[owner[level], edge, level]
            first[size], stop[size] = level, level + 1
            size += 1
    return True, boxes[:size], first[:size], stop[:size]


@njit(cache=True, nogil=True)
def fill_holes(values, levels):
    """Return the map whose components are those of `values` with their holes filled, at every level.

    Each pixel is raised to the lowest level over which one gets from it to the border (4-connected).
    """
    return _fill(values, levels, 0, levels)[1]


@njit(cache=True, nogil=True)
def _fill(values, levels, lowest, highest):
    """Return whether a level of lowest ... highest - 1 has a hole, and the map, with holes filled if so."""
    inverted = (levels - values).astype(values.dtype)
    segments = _cut_rows(inverted)
    row_first, start, _ = segments
    basin_of, peak, death, into = _grow_tree(inverted, segments, YES, levels)
    outlet = np.zeros(len(peak), np.int32)  # the inverted level at which the border is reached
    holes = False
    for basin in range(1, len(peak)):
        last = basin
        while into[last] != 0:
            last = into[last]
        outlet[basin] = death[last]
        holes = holes or (levels - peak[basin] < highest and levels - death[basin] > lowest)
    if not holes:
        return False, values
    filled = values.copy()
    height, width = values.shape
    for y in range(height):
        for i in range(row_first[y], row_first[y + 1]):
            basin = basin_of[i]
            if basin != 0:
                low = values.dtype.type(levels - outlet[basin])
                for x in range(start[i], start[i + 1] if i + 1 < row_first[y + 1] else width):
                    filled[y, x] = max(filled[y, x], low)
    return True, filled


@njit(cache=True, nogil=True)
def _needs(values, basins, levels):
    """Return the bytes of the arrays of one tree."""
    height, width = values.shape
    return basins * (levels * (4 * 2 + 4) + 2 * (height + width))


@njit(cache=True, nogil=True)
def _cut_rows(values):
    """Cut every row where it turns from falling to rising.

    The signs of a row's steps are taken for all columns at once and then read eight in a word: turns are rare.

    Returns:
        row_first: (H + 1,) segments of row y are row_first[y] ... row_first[y + 1] - 1.
        start, peak_x: (S,) first column of each segment, and a column of its highest value.
    """
    height, width = values.shape
    row_first = np.empty(height + 1, np.int32)
    start = np.empty(height * (width // 2 + 1), np.int32)
    peak_x = np.empty_like(start)
    step = np.zeros((width + 7) // 8 * 8, np.int8)
    words = step.view(np.uint64)
    low_bits, one, seven, top_byte = np.uint64(0x0101010101010101), np.uint64(1), np.uint64(7), np.uint64(56)
    size = 0
    for y in range(height):
        row_first[y] = size
        row = values[y]
        for x in range(1, width):
            step[x] = np.int8(row[x] > row[x - 1]) - np.int8(row[x] < row[x - 1])
        start[size], falling = 0, False
        for k in range(len(words)):
            falls = (words[k] >> seven) & low_bits  # bytes are 1, 0 or -1, and only -1 has its top bit set
            rises = (words[k] & low_bits) ^ falls
            while True:
                turns = rises if falling else falls
                if turns == 0:
                    break
                passed = (turns & (~turns + one)) - one  # all bits before the first turn's
                turn = 8 * k + np.int64(((passed & low_bits) * low_bits) >> top_byte)  # ... of which each byte has one
                if falling:
                    size += 1
                    start[size] = turn
                else:
                    peak_x[size] = turn - 1
                falling = not falling
                rises, falls = rises & ~passed, falls & ~passed
        if not falling:
            peak_x[size] = width - 1
        size += 1
    row_first[height] = size
    return row_first, start[:size], peak_x[:size]


@njit(cache=True, nogil=True)
def turns(values):
    """Measure roughness: the number of places where every fourth row turns from falling to rising, times four."""
    return 4 * (len(_cut_rows(values[::4].copy())[1]) - (len(values) + 3) // 4)  # a copy is compiled only once


@njit(cache=True, nogil=True)
def _touch(values, y, f, g, reach):
    """Return the highest value that both of two segments, f in row y and g in the next, reach in touching pixels.

    A segment is (start, stop, peak), the columns that it takes and the one of its highest value.

    Of f at x the best neighbour in g lies towards g's peak. Walking from f's peak to g's, f falls and the best
    neighbour rises (neither strictly), so the largest minimum is where they cross. Mostly that is at one end.
    """
    f_start, f_stop, f_peak = f
    g_start, g_stop, g_peak = g
    if f_peak <= g_peak:
        low, high = max(f_peak, g_start - reach), min(g_peak, f_stop - 1)
        if values[y + 1, min(low + reach, g_peak)] >= values[y, low]:
            return values[y, low]
        if values[y, high] >= values[y + 1, min(high + reach, g_peak)]:
            return values[y + 1, min(high + reach, g_peak)]
        while high - low > 1:  # f is above its best neighbour at low, and not at high
            middle = (low + high) // 2
            if values[y + 1, min(middle + reach, g_peak)] >= values[y, middle]:
                high = middle
            else:
                low = middle
        return max(values[y + 1, min(low + reach, g_peak)], values[y, high])
    low, high = max(g_peak, f_start), min(f_peak, g_stop - 1 + reach)
    if values[y + 1, max(high - reach, g_peak)] >= values[y, high]:
        return values[y, high]
    if values[y, low] >= values[y + 1, max(low - reach, g_peak)]:
        return values[y + 1, max(low - reach, g_peak)]
    while high - low > 1:
        middle = (low + high) // 2
        if values[y + 1, max(middle - reach, g_peak)] >= values[y, middle]:
            low = middle
        else:
            high = middle
    return max(values[y + 1, max(high - reach, g_peak)], values[y, low])


@njit(cache=True, nogil=True)
def _link(pair, level, peak, parent, links, size):
    """Note that two segments are connected below this level; return the number of links.

    The lower one joins the higher at once if it is connected at its own peak. Of equals the earlier counts as the
    higher, so parents never form a circle.
    """
    first, second = pair
    low, high = (first, second) if peak[first] < peak[second] else (second, first)
    if peak[low] == level and parent[low] == low:
        parent[low] = high
        return size
    links[size, 0], links[size, 1], links[size, 2] = first, second, level
    return size + 1


@njit(cache=True, nogil=True)
def _find(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # path halving
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _grow_tree(values, segments, islands, levels):
    """Find the basins and how they merge.

    With `islands`, basin 0 is what is connected to the map's border: the border counts as higher than every value.

    Returns:
        basin_of: (S,) the basin of each segment.
        peak, death: (B,) the levels between which each basin is a component: death <= l < peak.
        into: (B,) the basin that it is a part of below. Basin 0 never ends; the others stand in the order in which
            they end.
    """
    row_first, start, peak_x = segments
    height, width = values.shape
    reach = 0 if islands else 1
    count = len(start)
    border = count  # an extra node, used with `islands`
    nodes = count + 1 if islands else count
    peak, parent = np.empty(nodes, np.int32), np.empty(nodes, np.int32)
    for y in range(height):
        for i in range(row_first[y], row_first[y + 1]):
            peak[i], parent[i] = values[y, peak_x[i]], i
    # At most one link to the left, three into the row below, two to the border.
    links, size = np.empty((4 * count + 2 * height + 2 * width, 3), np.int32), 0
    for y in range(height):
        stop = row_first[y + 1]
        for i in range(row_first[y] + 1, stop):
            links[size, 0], links[size, 1], links[size, 2] = i - 1, i, values[y, start[i] - 1]
            size += 1
        if y == height - 1:
            break
        end = row_first[y + 2]
        i, j = row_first[y], stop
        while True:
            i_stop = start[i + 1] if i + 1 < stop else width
            j_stop = start[j + 1] if j + 1 < end else width
            level = _touch(values, y, (start[i], i_stop, peak_x[i]), (start[j], j_stop, peak_x[j]), reach)
            size = _link((i, j), level, peak, parent, links, size)
            if i_stop == width and j_stop == width:
                break
            if i_stop == j_stop and not islands:  # four segments meet at a corner
                size = _link((i, j + 1), min(values[y, i_stop - 1], values[y + 1, i_stop]), peak, parent, links, size)
                size = _link((i + 1, j), min(values[y, i_stop], values[y + 1, i_stop - 1]), peak, parent, links, size)
            i, j = i + (i_stop <= j_stop), j + (j_stop <= i_stop)
    if islands:
        peak[border], parent[border] = levels + 1, border
        for y in range(height):
            if y == 0 or y == height - 1:
                for i in range(row_first[y], row_first[y + 1]):
                    size = _link((i, border), peak[i], peak, parent, links, size)
            else:
                size = _link((row_first[y], border), values[y, 0], peak, parent, links, size)
                size = _link((row_first[y + 1] - 1, border), values[y, width - 1], peak, parent, links, size)
    links = _between_basins(links[:size], parent, levels)
    joined = parent.copy()  # `parent` goes on to the root of all; this stops where a basin ends
    number = np.full(nodes, -1, np.int32)
    ends, death, into = np.empty((3, nodes), np.int32)
    size = 1  # basin 0 is the one that never ends
    for k in range(len(links)):
        first, second, level = _find(parent, links[k, 0]), _find(parent, links[k, 1]), links[k, 2]
        if first == second:
            continue
        low, high = (first, second) if peak[first] < peak[second] else (second, first)
        parent[low] = high
        if peak[low] == level:  # never a component by itself
            joined[low] = high
        else:
            number[low], ends[size], death[size], into[size] = size, low, level, high
            size += 1
    root = _find(parent, 0)
    number[root], ends[0], death[0], into[0] = 0, root, 0, root
    basin_of = np.empty(count, np.int32)
    for i in range(count):
        basin_of[i] = number[_find(joined, i)]
    for basin in range(size):
        into[basin] = number[into[basin]]
    return basin_of, peak[ends[:size]], death[:size], into[:size]


@njit(cache=True, nogil=True)
def _between_basins(links, parent, levels):
    """Return the links between different basins, (L, 3) basins and level, highest level first (counting sort).

    Neighbouring basins touch in many rows. Of few basins only the highest link of each pair is kept.
    """
    number = np.full(len(parent), -1, np.int32)
    basins = 0
    for node in range(len(parent)):
        root = _find(parent, node)
        if number[root] < 0:
            number[root] = basins
            basins += 1
        number[node] = number[root]
    few = basins <= 256
    seen = np.full((basins, basins) if few else (1, 1), -1, np.int32)  # where a pair's link is
    kept = 0
    for k in range(len(links)):
        first, second, level = number[links[k, 0]], number[links[k, 1]], links[k, 2]
        if first == second:
            continue
        if few:
            if first > second:
                first, second = second, first
            at = seen[first, second]
            if at >= 0:
                links[at, 2] = max(links[at, 2], level)
                continue
            seen[first, second] = kept
        links[kept, 0], links[kept, 1], links[kept, 2] = parent[links[k, 0]], parent[links[k, 1]], level
        kept += 1
    place = np.zeros(levels + 2, np.int32)
    for k in range(kept):
        place[links[k, 2]] += 1
    total = 0
    for level in range(levels + 1, -1, -1):
        total, place[level] = total + place[level], total
    ordered = np.empty((kept, 3), np.int32)
    for k in range(kept):
        at = place[links[k, 2]]
        ordered[at, 0], ordered[at, 1], ordered[at, 2] = links[k, 0], links[k, 1], links[k, 2]
        place[links[k, 2]] += 1
    return ordered


@njit(cache=True, nogil=True)
def _extents(values, segments, tree, levels, outside):
    """Return (B, 4, L) int16 tight boxes of each basin's component, valid at the levels at which it is one.

    A box edge is the first or last column (row) whose highest value in the basin is above the level.
    """
    row_first, start, peak_x = segments
    basin_of, peak, death, into = tree
    height, width = values.shape
    columns = np.zeros((len(peak), width), values.dtype)
    rows = np.zeros((len(peak), height), values.dtype)
    # Most basins are small and shallow: the columns, rows and values that each one has.
    left, top = np.full(len(peak), width, np.int32), np.full(len(peak), height, np.int32)
    right, bottom = np.zeros(len(peak), np.int32), np.zeros(len(peak), np.int32)
    lowest = peak.copy()
    for y in range(height):
        for i in range(row_first[y], row_first[y + 1]):
            basin = basin_of[i]
            if basin != outside:
                stop = start[i + 1] if i + 1 < row_first[y + 1] else width
                for x in range(np.uint64(start[i]), np.uint64(stop)):  # unsigned, or it is not vectorized
                    columns[basin, x] = max(columns[basin, x], values[y, x])
                rows[basin, y] = max(rows[basin, y], values[y, peak_x[i]])
                left[basin], right[basin] = min(left[basin], start[i]), max(right[basin], stop)
                top[basin], bottom[basin] = min(top[basin], y), y + 1
                lowest[basin] = min(lowest[basin], min(values[y, start[i]], values[y, stop - 1]))
    extent = np.empty((len(peak), 4, levels), np.int16)
    seen = np.empty((2, levels + 1), np.int16)
    for basin in range(len(peak)):
        if basin != outside:
            scores = lowest[basin], peak[basin]
            _first_and_last(columns[basin], (left[basin], right[basin]), scores, seen, extent[basin], 0)
            _first_and_last(rows[basin], (top[basin], bottom[basin]), scores, seen, extent[basin], 1)
    for basin in range(1, len(peak)):  # in the order in which they end
        whole = into[basin]
        if whole != outside:
            for edge in range(2):
                for level in range(np.uint64(death[basin])):
                    extent[whole, edge, level] = min(extent[whole, edge, level], extent[basin, edge, level])
            for edge in range(2, 4):
                for level in range(np.uint64(death[basin])):
                    extent[whole, edge, level] = max(extent[whole, edge, level], extent[basin, edge, level])
    return extent


@njit(cache=True, nogil=True)
def _first_and_last(profile, places, scores, seen, extent, axis):
    """Fill entry `axis` of the extent, the first position above each level, and `axis + 2`, one past the last.

    The profile's positions begin ... end - 1, `places`, hold values from lowest to peak, `scores`. Without a branch,
    which would be mispredicted: first where each value is seen, then the best of those above.
    """
    begin, end = places
    lowest, peak = scores
    seen[0, lowest : peak + 1], seen[1, lowest : peak + 1] = end, begin
    for position in range(begin, end):
        seen[1, profile[position]] = position + 1
        mirrored = begin + end - 1 - position
        seen[0, profile[mirrored]] = mirrored
    near, far = seen[0, peak], seen[1, peak]
    for level in range(peak - 1, lowest - 1, -1):
        extent[axis, level], extent[axis + 2, level] = near, far
        near, far = min(near, seen[0, level]), max(far, seen[1, level])
    extent[axis, :lowest], extent[axis + 2, :lowest] = begin, end


@njit(cache=True, nogil=True)
def _rivals(values, segments, tree, extent, polygon):
    """Return the basins that may be larger than basin 0 at one of their levels; most are certainly smaller.

    A basin is at most its box at its lowest level. Basin 0 is at least what `_at_least` counts at the basin's highest.
    """
    _, peak, death, _ = tree
    rivals, count = np.empty(len(peak), np.int32), 0
    sure, tries = -1, 8
    margin = 1 if polygon else 0
    for basin in np.argsort(-peak):
        if basin == 0:
            continue
        box = extent[basin, :, death[basin]].astype(np.int64)
        most = (box[2] - box[0] - margin) * (box[3] - box[1] - margin) * (1 + margin)
        if most >= sure and tries > 0:
            tries -= 1
            sure = max(sure, _at_least(values, segments, tree, peak[basin] - 1, polygon))
        if most >= sure:
            rivals[count] = basin
            count += 1
    return rivals[:count]


@njit(cache=True, nogil=True)
def _at_least(values, segments, tree, level, polygon):
    """Return a lower bound of basin 0's area at a level: a run of pixels a row, or the squares between runs, twice."""
    row_first, start, peak_x = segments
    basin_of = tree[0]
    height, width = values.shape
    total, left, right = np.int64(0), 0, 0
    for y in range(height):
        best = -1
        for i in range(row_first[y], row_first[y + 1]):
            if basin_of[i] == 0 and values[y, peak_x[i]] > level:
                if best < 0 or values[y, peak_x[i]] > values[y, peak_x[best]]:
                    best = i
        before_left, before_right = left, right
        if best < 0:
            left, right = 0, 0
            continue
        # Near the ends of the run above, mostly.
        begin, end = start[best], start[best + 1] if best + 1 < row_first[y + 1] else width
        left = min(max(left, begin), peak_x[best])
        while left > begin and values[y, left - 1] > level:
            left -= 1
        while values[y, left] <= level:
            left += 1
        right = max(min(right, end), peak_x[best] + 1)
        while right < end and values[y, right] > level:
            right += 1
        while values[y, right - 1] <= level:
            right -= 1
        if polygon:
            total += 2 * max(min(right, before_right) - max(left, before_left) - 1, 0)
        else:
            total += right - left
    return total


@njit(cache=True, nogil=True)
def _areas(values, segments, tree, levels, lowest, polygon):
    """Return (B, L) int32 sizes of each basin's component, from the lowest level that a threshold cuts at.

    Pixels, or twice the area of the polygon through their centres. That is a sum over 2 x 2 blocks of pixels: a
    triangle where three are set, a square where four are. All set pixels of a block are in one component, and of three
    or four of them one is the higher of the upper two.
    """
    row_first, start, peak_x = segments
    basin_of, peak, death, into = tree
    height, width = values.shape
    area = np.zeros((len(peak), levels + 1), np.int32)
    third, fourth = np.empty(width, values.dtype), np.empty(width, values.dtype)  # highest values of each block
    next_column = np.uint64(1)
    for y in range(height - 1 if polygon else height):
        upper, blocks = values[y], False
        for i in range(row_first[y], row_first[y + 1]):
            if upper[peak_x[i]] <= lowest:
                continue
            begin, stop = start[i], start[i + 1] if i + 1 < row_first[y + 1] else width
            while upper[begin] <= lowest:
                begin += 1
            while upper[stop - 1] <= lowest:
                stop -= 1
            if not polygon:
                for x in range(begin, stop):
                    area[basin_of[i], upper[x]] += 1
                continue
            if not blocks:
                blocks, lower = True, values[y + 1]
                for x in range(np.uint64(width - 1)):
                    high, low = max(upper[x], upper[x + next_column]), min(upper[x], upper[x + next_column])
                    other_high, other_low = max(lower[x], lower[x + next_column]), min(lower[x], lower[x + next_column])
                    third[x] = min(max(low, other_low), min(high, other_high))
                    fourth[x] = min(low, other_low)
            # The blocks whose higher upper pixel is in this run; of equals the left one.
            if begin > 0 and upper[begin] > upper[begin - 1]:
                begin -= 1
            if stop == width or upper[stop] > upper[stop - 1]:
                stop -= 1
            for x in range(begin, stop):
                area[basin_of[i], third[x]] += 1
                area[basin_of[i], fourth[x]] += 1
    for basin in range(len(peak)):
        total = 0
        for value in range(levels, -1, -1):  # entry `value` becomes what is above it
            total, area[basin, value] = total + area[basin, value], total
    for basin in range(1, len(peak)):
        whole = into[basin]
        for level in range(death[basin]):
            area[whole, level] += area[basin, level]
    return area


@njit(cache=True, nogil=True)
def _first_column(values, segments, tree, y, level, basin):
    """Return the first column of row y that belongs to the basin's component at this level."""
    row_first, start, _ = segments
    basin_of, _, death, into = tree
    for i in range(row_first[y], row_first[y + 1]):
        owner = basin_of[i]
        while level < death[owner]:
            owner = into[owner]
        if owner == basin:
            for x in range(start[i], start[i + 1] if i + 1 < row_first[y + 1] else values.shape[1]):
                if values[y, x] > level:
                    return x
    return -1
