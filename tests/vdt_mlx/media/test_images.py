"""Picture files: their depth, orientation and transparency, and what is no picture."""

import numpy as np
import pytest
from PIL import Image

from vdt_mlx.errors import VDTError
from vdt_mlx.media import images
from vdt_mlx.media.mask_file import read_mask

RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (32, 1))
EXPECTED = np.rint(RAMP / 257).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_scaled(tmp_path, suffix) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RAMP).save(path)
    read = images.read_image(path)
    assert read.shape == (32, 64, 3) and read.dtype == np.uint8
    assert np.array_equal(read[..., 1], EXPECTED)


def test_floats_from_0_to_1_are_scaled_and_others_refused(tmp_path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray((RAMP / 65535).astype(np.float32)).save(path)
    assert np.array_equal(images.read_image(path)[..., 0], np.rint(RAMP / 65535 * 255))
    for values in (RAMP.astype(np.float32), np.full((16, 16), np.nan, np.float32), RAMP.astype(np.int32)):
        Image.fromarray(values).save(path)
        with pytest.raises(VDTError, match="not known"):
            images.read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_orientation_is_seen_as_it_was_taken(tmp_path, suffix, mode) -> None:
    if suffix == ".webp" and mode == "L":
        pytest.skip("WebP has no grey pictures")
    scene = np.zeros((24, 32, 3), np.uint8)
    scene[:8, :8], scene[:8, 24:], scene[16:, :8] = 255, 160, 80
    upright = {1: scene, 2: scene[:, ::-1], 3: scene[::-1, ::-1], 4: scene[::-1]}
    flipped = scene.transpose(1, 0, 2)  # where the stored rows are the seen columns
    upright |= {5: flipped, 6: flipped[:, ::-1], 7: flipped[::-1, ::-1], 8: flipped[::-1]}
    for orientation, seen in upright.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"quality": 95} if suffix == ".jpg" else {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(scene).convert(mode).save(tmp_path / f"a{suffix}", exif=exif, **options)
        read = images.read_image(tmp_path / f"a{suffix}")
        assert read.shape == seen.shape
        assert np.abs(read.astype(int) - seen).max() < (40 if suffix == ".jpg" else 1), orientation


def test_transparent_pixels_are_white(tmp_path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., :3] = 220, 50, 47
    pixels[:8, :, 3], pixels[:4, :, 3] = 255, 51
    for name, image in {
        "a.png": Image.fromarray(pixels),
        "b.webp": Image.fromarray(pixels),
        "c.png": Image.fromarray(pixels[..., [0, 3]], "LA"),
    }.items():
        image.save(tmp_path / name, **({"lossless": True, "exact": True} if name == "b.webp" else {}))
        read = images.read_image(tmp_path / name)
        assert (read[8:] == 255).all()
        assert read[5, 0, 0] == 220
        assert read[0, 0, 0] == round(0.2 * 220 + 0.8 * 255)
    palette = Image.fromarray((pixels[..., 3] > 100).astype(np.uint8), "P")
    palette.putpalette([255, 0, 255, 220, 50, 47] + [0] * 762)
    palette.save(tmp_path / "p.png", transparency=0)
    assert images.read_image(tmp_path / "p.png")[15, 0].tolist() == [255] * 3


def test_other_formats_reach_no_decoder(tmp_path, monkeypatch) -> None:
    def opened(*arguments, **options):
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(Image, "open", opened)
    starts = (b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xc5\xd0\xd3\xc6", b"<svg>", b"RIFF0000AVI ", b"8BPS", b"")
    for start in starts:
        (tmp_path / "a.png").write_bytes(start + bytes(100) if start else b"")
        with pytest.raises(VDTError, match="not an image"):
            images.read_image(tmp_path / "a.png")


def test_masks_of_every_depth(tmp_path) -> None:
    cells, size = (16, 8, 8), (64, 64)
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    wanted = np.zeros((8, 8), bool)
    wanted[2:6, 2:6] = True
    clear = np.dstack([np.full((64, 64, 3), 255), hole * 255]).astype(np.uint8)
    pictures = {"grey.png": hole * np.uint8(255), "deep.png": np.where(hole, 65535, 600).astype(np.uint16)}
    for name, values in {**pictures, "clear.png": clear}.items():
        Image.fromarray(values).save(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name, cells, size)[3], wanted), name
    deep = np.where(hole, 65535, 600).astype(np.uint16)
    for values in (hole, hole * 255, hole * 1.0, hole.astype(np.int64), deep, hole * np.float32(255)):
        np.save(tmp_path / "a.npy", values)
        assert np.array_equal(read_mask(tmp_path / "a.npy", cells, size)[0], wanted), values.dtype
    for values in (np.full((64, 64), np.nan), hole * -1, hole * 1000, np.full((64, 64), np.inf)):
        np.save(tmp_path / "a.npy", values)
        with pytest.raises(VDTError, match="must be 0 to 1"):
            read_mask(tmp_path / "a.npy", cells, size)
