"""Reading image files: what is accepted, how it looks in memory, and what is refused before it is opened or decoded."""

import os
import resource
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from ebomlc_dist.data.inputs.decode import SUFFIXES_OF
from ebomlc_dist.data.inputs.lazy import open_images
from ebomlc_dist.data.inputs.read import decode_images, probe_images, read_images, resize_square
from ebomlc_dist.errors import InputError
from tests.data.support import write_image


def read(
    root: Path, *names: str, image_size: int | None = None, max_pixels: int = 64_000_000, skip: bool = False
) -> tuple[torch.Tensor, NDArray[np.bool_]]:
    return read_images(root, list(names), image_size=image_size, max_pixels=max_pixels, skip_unreadable=skip)


def pixels(path: Path, mode: str = "RGB") -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert(mode)).reshape(image.height, image.width, -1)).permute(2, 0, 1)


def bomb(path: Path, side: int) -> Path:
    """A valid PNG of a few bytes whose header promises ``side``² pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize(
    "suffix",
    ["png", "bmp", "jpg", "webp", "gif", "tif", "ppm", "jp2", "avif", "ico", "dds", "qoi", "tga", "pcx", "sgi"],
)
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"a.{suffix}", (16, 16) if suffix == "ico" else (7, 5))
    images, readable = read(tmp_path, path.name)
    assert images.dtype == torch.uint8
    assert torch.equal(images[0], pixels(path))
    assert readable.tolist() == [True]


@pytest.mark.parametrize(("suffix", "mode"), [("pgm", "L"), ("pbm", "1"), ("pnm", "RGB")])
def test_netpbm_under_each_of_its_names(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)).convert(mode)
    image.save(tmp_path / f"a.{suffix}", format="PPM")
    shown = "RGB" if mode == "RGB" else "L"
    assert torch.equal(read(tmp_path, f"a.{suffix}")[0][0], pixels(tmp_path / f"a.{suffix}", shown))


def test_suffixes_are_those_that_pillow_registers() -> None:
    known = Image.registered_extensions()
    for kind, suffixes in SUFFIXES_OF.items():
        for suffix in suffixes:
            assert known[suffix] in (kind, {"JPEG": "MPO"}.get(kind))


def test_grey_only_where_all_are_grey(tmp_path: Path) -> None:
    grey, colour = write_image(tmp_path / "g.png", grey=True), write_image(tmp_path / "c.png")
    assert torch.equal(read(tmp_path, "g.png")[0][0], pixels(grey, "L"))
    both = read(tmp_path, "g.png", "c.png")[0]
    assert torch.equal(both[0], pixels(grey))
    assert torch.equal(both[1], pixels(colour))


def test_sixteen_bit_grey_keeps_its_upper_byte(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256], [40_000, 65_535, 1]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert read(tmp_path, "a.png")[0][0, 0].tolist() == (values >> 8).tolist()


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(35, dtype=np.uint8).reshape(5, 7))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "straight.png")
    upright = read(tmp_path, "straight.png", image_size=None)[0][0, 0]
    with pytest.raises(InputError, match=r"'turned\.png' has 5×7 pixels, 'straight\.png' has 7×5; give"):
        read(tmp_path, "turned.png", "straight.png")
    turned = np.array(Image.open(tmp_path / "straight.png").rotate(-90, expand=True).resize((4, 4), 2))
    assert torch.equal(read(tmp_path, "turned.png", image_size=4)[0][0, 0], torch.from_numpy(turned))
    assert upright.shape == (5, 7)


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_and_pixels_agree_on_what_is_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    """Pillow turns a TIFF by itself, when it opens it."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 9), dtype=np.uint8))
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    (header,) = probe_images(tmp_path, [f"a.{suffix}"], max_pixels=100).headers.values()
    image.info["exif"] = exif.tobytes()
    upright = np.array(ImageOps.exif_transpose(image))
    assert (header.height, header.width) == upright.shape == ((9, 5) if orientation > 4 else (5, 9))
    found = read(tmp_path, f"a.{suffix}")[0][0, 0]
    if suffix in ("tif", "png"):
        assert np.array_equal(found, upright)
    else:
        assert found.shape == upright.shape


def test_a_png_may_say_behind_its_pixels_how_it_is_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("L", (9, 5)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + b"eXIf" + data + struct.pack(">I", zlib.crc32(b"eXIf" + data))
    (tmp_path / "a.png").write_bytes(content[:-12] + chunk + content[-12:])
    (header,) = probe_images(tmp_path, ["a.png"], max_pixels=100).headers.values()
    assert (header.width, header.height) == (5, 9)
    assert read(tmp_path, "a.png")[0].shape[2:] == (9, 5)


def broken_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 1
    Image.new("RGB", (8, 8)).save(path, exif=exif.tobytes()[:-6])


def test_what_pillow_warns_of_names_each_file_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.jpg", "b.jpg"):
        broken_exif(tmp_path / name)
    write_image(tmp_path / "c.jpg", (8, 8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probe = probe_images(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], max_pixels=100)
        options = {"image_size": 8, "max_pixels": 100, "skip_unreadable": False}
        decode_images(probe, **options)
        open_images(probe, max_side=None, **options)[0][torch.arange(3)]
    assert caught == []
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Pillow warns of 2 of 3 images: 'a.jpg': Corrupt EXIF data. ")
    assert line.count("a.jpg") == line.count("b.jpg") == 1
    assert "c.jpg" not in line


def test_first_frame_only(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read(tmp_path, "a.gif")[0][0, :, 0, 0].tolist() == [255, 0, 0]


def test_sizes_differ(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (8, 8))
    write_image(tmp_path / "b.png", (9, 8))
    with pytest.raises(InputError, match=r"'a.png' has 8×8 pixels, 'b.png' has 9×8; give --image-size"):
        read(tmp_path, "a.png", "b.png")
    images, _ = read(tmp_path, "a.png", "b.png", image_size=6)
    expected = np.array(Image.open(tmp_path / "b.png").resize((6, 6), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert torch.equal(images[1], torch.from_numpy(expected))


def test_all_unreadable_images_are_listed(tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-60])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    names = ("cut.png", "good.png", "text.png", "empty.jpg", "gone.png")
    with pytest.raises(InputError, match="4 of 5 images cannot be read") as caught:
        read(tmp_path, *names)
    message = str(caught.value)
    assert all(repr(name) in message for name in names if name != "good.png")
    assert "good.png" not in message
    assert "--skip-unreadable" in message
    assert "\n" not in message
    images, readable = read(tmp_path, *names, skip=True)
    assert readable.tolist() == [False, True, False, False, False]
    assert torch.equal(images, pixels(good)[None])


def test_unreadable_images_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "text.png").write_text("no image")
    write_image(tmp_path / "good.png")
    read(tmp_path, "text.png", "good.png", skip=True)
    assert [record.getMessage() for record in caplog.records] == [
        "unreadable image: 'text.png' is none of JPEG, PNG, BMP, WEBP, GIF, TIFF and other formats that Pillow reads"
    ]


def test_truncated_jpeg_is_damaged(tmp_path: Path) -> None:
    whole = write_image(tmp_path / "a.jpg", (64, 64)).read_bytes()
    (tmp_path / "a.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"'a.jpg' is damaged or no image"):
        read(tmp_path, "a.jpg")


def test_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb(tmp_path / "a.png", 8500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="has 8500×8500 pixels, more than 64000000"):
        read(tmp_path, "a.png")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    with pytest.raises(InputError, match=r"'a.png' is damaged"):
        read(tmp_path, "a.png", max_pixels=8500**2)


@pytest.mark.parametrize("side", [10_000, 15_000, 60_000])
def test_pillows_own_limit_gives_an_error_and_no_warning(tmp_path: Path, side: int) -> None:
    bomb(tmp_path / "a.png", side)
    with warnings.catch_warnings(record=True) as caught, pytest.raises(InputError, match="pixels"):
        read(tmp_path, "a.png")
    assert not caught


def test_pixel_limit_is_inclusive(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", (8, 8))
    assert len(read(tmp_path, "a.png", max_pixels=64)[0]) == 1
    with pytest.raises(InputError, match="more than 63"):
        read(tmp_path, "a.png", max_pixels=63)


@pytest.mark.parametrize("kind", ["EPS", "TGA", "PCX", "SGI"])
def test_other_formats_are_refused_under_any_name(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(InputError, match="is none of JPEG"):
        read(tmp_path, "a.png")


def test_special_files_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "loop.png").symlink_to("loop.png")
    names = ("fifo.png", "folder.png", "device.png", "loop.png")
    _, readable = read(tmp_path, *names, skip=True)
    assert not readable.any()
    with pytest.raises(InputError) as caught:
        read(tmp_path, *names)
    message = str(caught.value)
    assert "'fifo.png' is not a regular file" in message
    assert "'folder.png' is not a regular file" in message
    assert "'device.png' is a link that leaves the data folder" in message
    assert "'loop.png' " in message


def test_paths_and_links_out_of_the_root_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    secret = write_image(tmp_path / "secret.png")
    inside = write_image(root / "inside.png")
    (root / "link.png").symlink_to(secret)
    (root / "fine.png").symlink_to(inside)
    (root / "folder").symlink_to(tmp_path)
    (root / "sub").mkdir()
    refused = ("../secret.png", str(secret), "link.png", "folder/secret.png", "a\0b.png", "x" * 5000, "~/a.png")
    _, readable = read(root, *refused, "fine.png", "sub/../inside.png", str(inside), skip=True)
    assert readable.tolist() == [False] * len(refused) + [True] * 3
    # Whether a file lies out there is not told.
    for name in ("../secret.png", "../gone.png"):
        with pytest.raises(InputError, match="leaves the data folder"):
            read(root, name)


def test_hostile_names_are_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, "a\x1b[31m\u202e\n.png")
    assert str(caught.value).isprintable()


def test_every_cut_of_a_file_is_survived(tmp_path: Path) -> None:
    """No cut and no flipped byte ends in anything but an image or a listed refusal."""
    random = np.random.default_rng(0)
    names = []
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        whole = write_image(tmp_path / f"whole.{suffix}", (16, 16)).read_bytes()
        for number in range(30):
            data = bytearray(whole[: int(random.integers(1, len(whole)))] if number % 2 else whole)
            data[int(random.integers(len(data)))] ^= int(random.integers(1, 256))
            names.append(f"{number}.{suffix}")
            (tmp_path / names[-1]).write_bytes(data)
    images, readable = read(tmp_path, *names, image_size=8, max_pixels=10_000, skip=True)
    assert len(images) == readable.sum()
    assert 0 < readable.sum() < len(names)


def test_progress(tmp_path: Path) -> None:
    names = [write_image(tmp_path / f"{number}.png", seed=number).name for number in range(3)]
    seen: list[tuple[int, int]] = []
    read_images(
        tmp_path,
        names,
        image_size=None,
        max_pixels=100,
        skip_unreadable=False,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (3, 3)


def test_order_is_that_of_the_names(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{number}.png", seed=number) for number in range(30)]
    images, _ = read(tmp_path, *(path.name for path in reversed(paths)))
    assert torch.equal(images, torch.stack([pixels(path) for path in reversed(paths)]))


def test_resize_square() -> None:
    flat = torch.full((1100, 1, 4, 6), 200, dtype=torch.uint8)
    assert torch.equal(resize_square(flat, 8), torch.full((1100, 1, 8, 8), 200, dtype=torch.uint8))
    assert resize_square(flat[:0], 8).shape == (0, 1, 8, 8)
    square = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    assert resize_square(square, 8) is square
