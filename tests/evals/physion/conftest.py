"""A tiny folder in the layout of PhysionTest-Core, made with the simulator."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

import physics_sim
from vdt_mlx.media import video

COUNT = 12
SIDE = 64


def write_labels(folder: Path, labels: dict[str, bool], name: str = "labels.csv") -> Path:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("", "ground truth outcome"), *labels.items()])
    return folder / name


@pytest.fixture(scope="session")
def made_core(tmp_path_factory) -> Path:
    """Collide with 12 clips (four films, three names each), half of them with contact, and Odd with one clip."""
    root = tmp_path_factory.mktemp("physion") / "Physion"
    labels = {}
    films = []
    for index in range(4):
        clip = physics_sim.make_clip("collide", "val", index, size=SIDE)
        masks = clip.masks()[0]
        roles = {body.role: 1 + place for place, body in enumerate(clip.scene.bodies)}
        picture = np.full((SIDE, SIDE, 3), 128, np.uint8)
        picture[masks == roles["agent"]], picture[masks == roles["patient"]] = (255, 0, 0), (255, 255, 0)
        films.append((clip, picture))
    for scenario, count in (("Collide", COUNT), ("Odd", 1)):
        for name in ("maps", "mp4s", "mp4s-redyellow"):
            (root / scenario / name).mkdir(parents=True)
        for index in range(count):
            clip, picture = films[index % 4]
            name = f"pilot_{scenario.lower()}_{index:04d}"
            film = root / scenario / "mp4s-redyellow" / f"{name}-redyellow_img.mp4"
            if scenario == "Collide" and index < 4:
                video.write_mp4(film, clip.frames, 10)
            else:
                shutil.copy(
                    root / "Collide" / "mp4s-redyellow" / f"pilot_collide_{index % 4:04d}-redyellow_img.mp4", film
                )
            video.write_png(root / scenario / "maps" / f"{name}_map.png", picture)
            labels[name] = clip.contact
    write_labels(root, labels)
    return root


@pytest.fixture
def core(made_core, tmp_path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made_core, tmp_path / "Physion"))


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A checkpoint of a network for 6 frames that knows nothing and costs next to nothing."""
    from tests.tiny_models import save_tiny

    coder = {"kind": "tiny", "num_encoder_blocks": (0, 0, 0, 0), "num_decoder_blocks": (0, 0, 0, 0)}
    return save_tiny(
        tmp_path_factory.mktemp("checkpoint") / "small",
        spread=0.1,
        steps=1,
        vdt={"hidden_size": 16, "num_frames": 6},
        autoencoder={**coder, "block_out_channels": (4, 4, 8, 8), "latent_channels": 4},
    )
