"""Damage to recordings, drawn from a seeded generator: what disks, networks, killed recorders and attackers do."""

from __future__ import annotations

import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from heimdall_assets_tests.iq import builders
from heimdall_assets_tests.iq.specimens import SPECIMENS, Specimen, zipped

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

LENGTHS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 2**63 - 1, 2**64 - 1)
HEADER_BYTES = 128
BOMB_BYTES = 300_000_000
PIECE = bytes(1_000_000)
BOMB_SHARE = 0.004
"""Bombs cost more than the others, since some must be unpacked up to the limit before they can be told."""


@dataclass(frozen=True)
class Case:
    """A damaged recording, and how it is to be opened."""

    name: str
    specimen: Specimen
    place: str


def _at(rng: random.Random, content: bytearray) -> int:
    """A place, most likely in the first bytes, where headers are, or in the last, where directories are."""
    size = len(content)
    near = min(HEADER_BYTES, size)
    return rng.choice((rng.randint(0, near), rng.randint(0, near), size - rng.randint(0, near), rng.randint(0, size)))


def _flip(rng: random.Random, content: bytearray) -> None:
    for _ in range(rng.randint(1, 8)):
        if content:
            at = min(_at(rng, content), len(content) - 1)
            content[at] ^= 1 << rng.randrange(8)


def _truncate(rng: random.Random, content: bytearray) -> None:
    del content[_at(rng, content) :]


def _splice(rng: random.Random, content: bytearray) -> None:
    other = rng.choice(SPECIMENS).content
    begin = rng.randint(0, len(other))
    at = _at(rng, content)
    content[at : at + rng.choice((0, 0, 16, 512))] = other[begin : begin + rng.choice((4, 64, 512, 4096))]


def _length(rng: random.Random, content: bytearray) -> None:
    width = rng.choice((1, 2, 4, 4, 4, 8))
    value = rng.choice((*LENGTHS, len(content), len(content) + 1, max(0, len(content) - 1))) % 2 ** (8 * width)
    at = _at(rng, content) // 2 * 2
    content[at : at + width] = value.to_bytes(width, rng.choice(("little", "little", "big")))


def _unwritten(rng: random.Random, content: bytearray) -> None:
    """A size that a recorder guessed, knew at its last flush, or that wrapped."""
    at = content.find(rng.choice((b"RIFF", b"data", b"data", b"LIST", b"kiwi", b"ds64")))
    if at >= 0 and at + 8 <= len(content):
        guesses = (0, 8, 2**32 - 8, 0x7FFFFFE8, 0x7FFFF024, 0x80000024, 2**32 - 1, rng.randint(0, len(content)))
        content[at + 4 : at + 8] = rng.choice(guesses).to_bytes(4, "little")


def _duplicate(rng: random.Random, content: bytearray) -> None:
    at = _at(rng, content)
    chunk = content[at : at + rng.choice((8, 16, 24, 64, 512, 1024))]
    content[at:at] = chunk * rng.choice((1, 1, 2, 50))


def _delete(rng: random.Random, content: bytearray) -> None:
    at = _at(rng, content)
    del content[at : at + rng.choice((1, 2, 4, 16, 512))]


def _extend(rng: random.Random, content: bytearray) -> None:
    content += rng.randbytes(rng.choice((1, 7, 8, 1000)))


def _digits(rng: random.Random, content: bytearray) -> None:
    """Another number where text states one: shapes of .npy, sizes of tar headers, values of JSON."""
    places = [at for at in range(min(len(content), 4096)) if content[at] in b"0123456789"]
    if places:
        at = rng.choice(places)
        content[at : at + 1] = rng.choice((b"9" * 12, b"-1", b"0", b"1e999", b"9" * 5000, b"null", b"7"))


CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip, _flip, _truncate, _splice, _length, _length, _unwritten, _duplicate, _delete, _extend, _digits,
)  # fmt: skip


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A file after one to three changes."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        rng.choice(CHANGES)(rng, made)
    return bytes(made)


def case(rng: random.Random) -> Case:
    """A damaged recording of any format, at any kind of place."""
    if rng.random() < BOMB_SHARE:
        return rng.choice(bombs())
    specimen = rng.choice(SPECIMENS)
    place = rng.choice(("path", "memory", "zip"))
    victim = rng.choice(sorted(specimen.files))
    content = specimen.files[victim]
    if victim in {"rx.sigmf.gz", "rx.sigmf.xz"} and rng.random() < 0.5:
        tar = damaged(rng, next(each.content for each in SPECIMENS if each.name == "sigmf"))
        content = gzip.compress(tar) if victim.endswith("gz") else lzma.compress(tar)
    elif place != "zip" or rng.random() < 0.5:
        content = damaged(rng, content)
    broken = replace(specimen, files={**specimen.files, victim: content})
    if place != "zip":
        return Case(f"{specimen.name} at {place}", broken, place)
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    archive = zipped({f"session/{name}": body for name, body in broken.files.items()}, method)
    if content == specimen.files[victim]:
        archive = damaged(rng, archive)
    inner = replace(broken, files={"all.zip": archive}, opened=f"session/{specimen.opened}")
    return Case(f"{specimen.name} in a zip archive", inner, rng.choice(("zip-path", "zip-memory")))


@cache
def bombs() -> tuple[Case, ...]:
    """Archives that unpack to far more than they weigh, state false sizes, or hold one another."""
    meta = builders.sigmf_meta({"core:datatype": "cu8"})
    head = builders.tar({"rx.sigmf-meta": meta})[: 512 + len(meta) + -len(meta) % 512] + _tar_header(BOMB_BYTES)
    deflated = _deflated_zeros()
    made = {f"{word} zip": zip_by_hand([("rx.cu8", deflated, stated, 0)])
            for word, stated in {"honest": BOMB_BYTES, "small": 4096, "large": 2**32 - 2}.items()}  # fmt: skip
    made["overlapping zip"] = zip_by_hand([("rx.cu8", deflated, BOMB_BYTES, 0)], repeats=8000)
    made["nested zip"] = zipped({"rx.cu8": made["honest zip"]})
    cases = [
        Case(f"bomb: {name}", Specimen(name, "cu8", "rx.cu8", {"all.zip": content}, SPECIMENS[0].samples), "zip-path")
        for name, content in made.items()
    ]
    packed = {
        "rx.sigmf.gz": gzip.compress(head) + gzip.compress(PIECE) * (BOMB_BYTES // len(PIECE)),
        "rx.sigmf.xz": lzma.compress(head) + lzma.compress(PIECE) * (BOMB_BYTES // len(PIECE)),
        "rx.sigmf.zip": zip_by_hand([("rx.sigmf-meta", deflated, 4096, 0), ("rx.sigmf-data", deflated, BOMB_BYTES, 0)]),
    }
    cases += [
        Case(f"bomb: {name}", Specimen(name, "sigmf", name, {name: content}, SPECIMENS[0].samples), "path")
        for name, content in packed.items()
    ]
    return tuple(cases)


def _deflated_zeros() -> bytes:
    """BOMB_BYTES zeros as raw deflate: after a full flush every piece is packed to the same bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (BOMB_BYTES // len(PIECE)) + packer.flush()


def _tar_header(size: int) -> bytes:
    """Header of a tar archive's member of that size."""
    entry = tarfile.TarInfo("rx.sigmf-data")
    entry.size = size
    return entry.tobuf(tarfile.USTAR_FORMAT)


def zip_by_hand(members: list[tuple[str, bytes, int, int]], repeats: int = 1) -> bytes:
    """A zip archive of deflated members with any claimed sizes and checksums; entries may share their bytes."""
    body, directory = bytearray(), bytearray()
    for name, deflated, size, crc in members:
        offset = len(body)
        packed = len(deflated)
        body += struct.pack("<4s5HIIIHH", b"PK\x03\x04", 20, 0, 8, 0, 33, crc, packed, size, len(name), 0)
        body += name.encode() + deflated
        for number in range(repeats):
            called = name if number == 0 else f"{number}.cu8"
            facts = (20, 20, 0, 8, 0, 33, crc, packed, size, len(called), 0, 0, 0, 0, 0, offset)
            directory += struct.pack("<4s6HIII5HII", b"PK\x01\x02", *facts) + called.encode()
    count = len(members) * repeats
    return bytes(
        body + directory + struct.pack("<4s4HIIH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    )
