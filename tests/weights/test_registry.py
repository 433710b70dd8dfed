"""Names, folders and hub repositories; the hub itself is played by a stand-in."""

import shutil
import sys
import types

import pytest

from vdt_mlx.errors import VDTError
from weights import registry


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "some" / "model"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_names_and_folders(folder, tmp_path, monkeypatch):
    assert registry.resolve(folder) == folder
    assert registry.resolve(str(folder)) == folder
    monkeypatch.setitem(registry.REGISTRY, "mine", registry.Entry("mine", folder, "MIT", ""))
    assert registry.resolve("mine") == folder
    monkeypatch.chdir(folder.parent)
    monkeypatch.setitem(registry.REGISTRY, "model", registry.Entry("model", tmp_path / "gone", "MIT", ""))
    assert registry.resolve("./model").resolve() == folder
    with pytest.raises(VDTError, match="is not in this installation"):
        registry.resolve("model")


def test_unknown_names_list_what_there_is(tmp_path):
    with pytest.raises(VDTError, match=r"no model named 'phisics'.*there are: physics"):
        registry.resolve("phisics")
    with pytest.raises(VDTError, match=r"has no config\.json"):
        registry.resolve(tmp_path)
    (tmp_path / "x.pt").write_text("x")
    with pytest.raises(VDTError, match="is a file, not a checkpoint folder; bring it in with `vdt-mlx convert"):
        registry.resolve(tmp_path / "x.pt")
    for name in ("physics", str(tmp_path), "nothing"):
        with pytest.raises(VDTError, match="A revision pins a hub repository"):
            registry.resolve(name, revision="main")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(VDTError, match=r"pip install 'vdt-mlx\[hub\]'"):
        registry.resolve("org/name")
    assert registry.cached() == []


@pytest.fixture
def hub(monkeypatch, folder):
    """A huggingface_hub that records what it is asked and answers with `hub.answer` (a path or an exception)."""
    errors = types.ModuleType("huggingface_hub.errors")
    for name in ("GatedRepoError", "RevisionNotFoundError", "RepositoryNotFoundError"):
        setattr(errors, name, type(name, (Exception,), {}))
    hub = types.ModuleType("huggingface_hub")
    hub.errors, hub.asked, hub.answer, hub.cached = errors, [], folder, None

    def snapshot_download(repository, revision, allow_patterns, local_files_only=False):
        hub.asked.append((repository, revision, local_files_only))
        answer = hub.cached if local_files_only else hub.answer
        if answer is None or isinstance(answer, Exception):
            raise answer or FileNotFoundError("not in the cache")
        return str(answer)

    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return hub


def test_hub_repositories(hub, folder):
    assert registry.resolve("org/name") == folder
    assert registry.resolve("org/name", revision="v1") == folder
    assert registry.resolve("org/name@abc123") == folder
    assert hub.asked == [("org/name", None, False), ("org/name", "v1", False), ("org/name", "abc123", False)]
    with pytest.raises(VDTError, match="A revision pins"):
        registry.resolve("org/name@abc123", revision="v1")


def test_offline_takes_the_cache(hub, folder):
    hub.answer = ConnectionError("no route to host\nmore lines")
    with pytest.raises(VDTError, match=r"not in the local cache, and the hub cannot be reached \(no route to host\)"):
        registry.resolve("org/name")
    hub.cached = folder
    assert registry.resolve("org/name", "v1") == folder
    assert hub.asked[-1] == ("org/name", "v1", True)


def test_a_cached_commit_needs_no_network(hub, folder):
    hub.answer, hub.cached = ConnectionError("no route to host"), folder
    (folder / "vdt.safetensors").touch()
    assert registry.resolve("org/name@" + "a" * 40) == folder
    assert hub.asked == [("org/name", "a" * 40, True)]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("GatedRepoError", "is gated"),
        ("RevisionNotFoundError", "has no revision 'v9'"),
        ("RepositoryNotFoundError", "no folder org/name here, and no hub repository .* registered names: physics"),
    ],
)
def test_what_the_hub_refuses(hub, error, sentence):
    hub.answer = getattr(hub.errors, error)("no")
    with pytest.raises(VDTError, match=sentence):
        registry.resolve("org/name", "v9")


def test_a_repository_of_another_kind(hub, folder):
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(VDTError, match="is not a checkpoint folder"):
        registry.resolve("org/name")


def test_the_folder_of_a_training_run_is_its_checkpoint(folder, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with pytest.raises(VDTError, match="a training run that has saved no checkpoint yet"):
        registry.resolve(run)
    shutil.copytree(folder, run / "checkpoint")
    assert registry.resolve(run) == registry.resolve(str(run)) == run / "checkpoint"


@pytest.mark.parametrize("name", ["config.json", "vdt.safetensors"])
def test_a_file_of_a_checkpoint_folder_is_that_folder(name, folder):
    (folder / "config.json").write_text('{"format": "vdt-mlx"}')
    (folder / "vdt.safetensors").touch()
    assert registry.resolve(folder / name) == folder


@pytest.mark.parametrize("name", ["sd-vae-ft-mse", "stabilityai/sd-vae-ft-mse", "VDT-L/2", "taesd", "./TAESD"])
def test_known_names_that_are_not_at_hand(name, hub):
    with pytest.raises(VDTError, match=r"is not on this machine: (download it with `hf download|open https)"):
        registry.resolve(name)
    assert hub.asked == []


OUTSIDE = ("../../x", "..", "/etc/passwd", "a/../b", "a//b", "a/", "./a", "a\nb", "a b", "x" * 201)


@pytest.mark.parametrize("revision", OUTSIDE)
def test_a_revision_stays_inside_of_the_cache(revision, hub):
    for name, option in ((f"org/name@{revision}", None), ("org/name", revision)):
        with pytest.raises(VDTError, match=r"no commit, tag or branch|no model named"):
            registry.resolve(name, option)
    assert hub.asked == []


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "feature/x-2_y", "a" * 40])
def test_revisions(revision, hub, folder):
    assert registry.resolve(f"org/name@{revision}") == registry.resolve("org/name", revision) == folder


def test_what_training_may_start_from(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run / "checkpoint")
    assert registry.checkpoint_folder(str(run)) == run / "checkpoint"
    assert registry.checkpoint_folder(folder) == folder
    assert registry.checkpoint_folder("physics") == registry.REGISTRY["physics"].folder
    assert registry.checkpoint_folder(tmp_path / "nowhere") == tmp_path / "nowhere"
