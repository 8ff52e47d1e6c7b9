"""Where a file begins, and the messages of which its objects consist."""

from __future__ import annotations

from bench.features.hdf5.content import UNDEFINED, Content, Cursor, Damaged, Short

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SPACE, LINK_INFO, TYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 1, 2, 3, 6, 7, 8, 11, 12
CONTINUATION, SYMBOLS, ATTRIBUTE_INFO = 16, 17, 21
#: No object of ours has more messages, and none of others that are known.
MOST_MESSAGES = 4096

#: Of an object, by type: in the order of the file.
Messages = dict[int, list[bytes]]


def root(content: Content) -> int:
    """The address of the root group's header; Short when the file is cut."""
    start = content.cursor(0, min(content.size, 96), SIGNATURE)
    version = start.number(1)
    if version < 2:
        start.take(4)
    elif version > 3:
        raise Damaged(f"a superblock of version {version}")
    if start.numbers(2, 1) != (8, 8):
        raise Damaged("addresses that have not 8 bytes")
    start.take({0: 9, 1: 13}.get(version, 1))
    base, _, end = start.numbers(3)
    if base != 0:
        raise Damaged("another file in front of it")
    if end > content.size:
        raise Short(content.size, end)
    if version < 2:
        start.take(16)  # driver, and the root's name
    return start.number(8)


def messages(content: Content, address: int) -> Messages:
    """The messages of the object at an address."""
    found: Messages = {}
    first = content.read(address, 4)
    if first == b"OHDR":
        blocks, ordered, version = [_second(content, address)], bool(content.read(address + 5, 1)[0] & 4), 2
    else:
        header = content.cursor(address, 16)
        version, ordered = header.number(1), False
        header.take(7)
        blocks = [content.cursor(address + 16, header.number(4))]
    if version not in (1, 2):
        raise Damaged(f"an object of version {version}")
    count = 0
    for block in blocks:  # grows by continuations
        while block.left >= (8 if version == 1 else 4 + 2 * ordered):
            if (count := count + 1) > MOST_MESSAGES:
                raise Damaged(f"an object of more than {MOST_MESSAGES} messages")
            kind, size, flags = block.number(3 - version), block.number(2), block.number(1)
            block.take(3 if version == 1 else 2 * ordered)
            data = block.take(size)
            if kind == CONTINUATION:
                place, length = Cursor(data).numbers(2)
                more = content.cursor(place, length, b"OCHK" if version == 2 else b"")
                blocks.append(more if version == 1 else Cursor(more.take(max(0, more.left - 4))))  # a checksum
            elif flags & 2:
                raise Damaged("a message that several objects share")
            else:
                found.setdefault(kind, []).append(data)
    return found


def _second(content: Content, address: int) -> Cursor:
    """The first block of a header of version 2."""
    flags = content.read(address + 5, 1)[0]
    width, before = 1 << (flags & 3), 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
    length = int.from_bytes(content.read(address + before, width), "little")
    return content.cursor(address + before + width, length)


def links(content: Content, group: Messages) -> dict[str, int]:
    """Of a group: name -> address of what lies in this file; soft and external links are left out."""
    if group.get(SYMBOLS):
        tree, heap = Cursor(group[SYMBOLS][0]).numbers(2)
        return _symbols(content, tree, heap)
    check_compact(group, LINK_INFO, counter_bytes=8, many="a group of very many datasets")
    return dict(one for data in group.get(LINK, ()) for one in _link(Cursor(data)))


def check_compact(found: Messages, kind: int, *, counter_bytes: int, many: str) -> None:
    """Damaged unless links or attributes are messages themselves, as only very many are not.

    kind: of the messages that say so, in which a counter may stand first.
    """
    for data in found.get(kind, ()):
        info = Cursor(data)
        info.take(1)
        info.take(counter_bytes if info.number(1) & 1 else 0)
        if info.number(8) != UNDEFINED:
            raise Damaged(many)


def _link(link: Cursor) -> list[tuple[str, int]]:
    link.take(1)
    flags = link.number(1)
    if flags & 8 and link.number(1) != 0:
        return []
    link.take((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = link.take(link.number(1 << (flags & 3))).decode("utf8")
    return [(name, link.number(8))]


def _symbols(content: Content, tree: int, heap: int) -> dict[str, int]:
    head = content.cursor(heap, 32, b"HEAP")
    head.take(4)
    length, _, place = head.numbers(3)
    names, found = content.read(place, length), {}
    waiting, seen = [tree], {tree}
    while waiting:
        address = waiting.pop()
        if content.read(address, 4) == b"TREE":
            node = content.cursor(address, 24, b"TREE")
            kind, _, used = node.number(1), node.number(1), node.number(2)
            if kind != 0:
                raise Damaged("a tree of something else")
            children = content.cursor(address + 24, 16 * used + 8).numbers(2 * used + 1)[1::2]
            fresh = [child for child in children if child not in seen]
            waiting += fresh
            seen.update(fresh)
            continue
        node = content.cursor(address, 8, b"SNOD")
        node.take(2)
        entries = content.cursor(address + 8, 40 * node.number(2))
        while entries.left:
            start, header, kind = entries.number(8), entries.number(8), entries.number(4)
            entries.take(20)
            if kind != 2:  # a soft link
                end = names.find(b"\0", min(start, len(names)))
                found[names[start : max(end, start)].decode("utf8")] = header
        if len(found) > MOST_MESSAGES:
            raise Damaged("a group of very many datasets")
    return found
