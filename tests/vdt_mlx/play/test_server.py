"""The playground's server over a real connection: dreams as the library makes them, and hostile requests."""

import http.client
import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from play_server import start

import physics_sim
from vdt_mlx.play import presets

MASK = ["0" * 64] * 8 + ["1" * 64] * 8


def call(server, method: str, path: str, body=None, headers=None):
    """(status, decoded JSON or text)."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, data, headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text


def dream(server, **wish) -> list[dict]:
    wish = {"page": "test", "scene": presets.preset("collide").scene, "mask": MASK, "seeds": [0], **wish}
    status, text = call(server, "POST", "/api/dream", wish)
    assert status == 200, text
    return [json.loads(line.removeprefix("data: ")) for line in text.decode().split("\n\n") if line]


def test_a_dream_is_what_the_library_makes_of_the_same_scene_and_seed(play, tiny_checkpoint: Path) -> None:
    from vdt_mlx.pipeline import Pipeline
    from vdt_mlx.play import pictures

    events = dream(play, seeds=[5, 6])
    assert events[0]["type"] == "queued" and events[-1]["type"] == "done"
    steps = [event for event in events if event["type"] == "step"]
    assert steps and all(event["preview"] for event in steps)
    truth = physics_sim.make_clip("collide", "val", presets._with_contact("collide", 0)).frames
    mask = np.ones((16, 8, 8), np.float32)
    mask[:8] = 0
    hidden = truth.copy()
    hidden[8:] = 0
    made = Pipeline.load(tiny_checkpoint).fill(np.stack([hidden, hidden]), mask, seeds=[5, 6])
    assert [one["errors"] for one in events[-1]["dreams"]] == [pictures.errors(truth, clip) for clip in made]
    assert events[-1]["touch"] is True


def test_simulate_tells_the_truth_or_the_fault(play) -> None:
    scene = json.loads(json.dumps(presets.preset("collide").scene))
    status, told = call(play, "POST", "/api/simulate", {"scene": scene})
    assert status == 200 and told["touch"] is True and told["faults"] == []
    agent = next(body for body in scene["bodies"] if body["role"] == "agent")
    agent["parts"][0]["position"] = [5, -3]
    status, told = call(play, "POST", "/api/simulate", {"scene": scene})
    assert status == 200 and told["faults"][0]["body"] == "agent"
    status, told = call(play, "POST", "/api/dream", {"scene": scene, "mask": MASK})
    assert status == 400 and "agent" in told["error"]


def test_a_video_is_read_dreamt_of_and_kept(play, tmp_path: Path) -> None:
    from vdt_mlx.media import video

    path = tmp_path / "mine.gif"
    video.write_gif(path, np.random.default_rng(0).integers(0, 255, (16, 64, 64, 3), np.uint8), 8)
    status, told = call(play, "POST", "/api/video", path.read_bytes())
    assert status == 200 and told["video"]
    events = dream(play, scene=None, video=told["video"], page="video")
    assert events[-1]["type"] == "done" and events[-1]["touch"] is None
    status, kept = call(play, "GET", "/api/download/gif?page=video")
    assert status == 200 and kept[:4] == b"GIF8"
    status, told = call(play, "POST", "/api/video", b"GIF89a" + b"\0" * 100)
    assert status == 400 and "The file" in told["error"] and "/tmp" not in told["error"]


def test_of_one_page_the_newest_wish_wins(play) -> None:
    found: dict[str, list[dict]] = {}

    def ask(name: str, steps: int) -> None:
        found[name] = dream(play, page="mine", steps=steps, seeds=list(range(8)))

    old = threading.Thread(target=ask, args=("old", 50))
    old.start()
    time.sleep(0.4)
    ask("new", 1)
    old.join(60)
    assert found["new"][-1]["type"] == "done" and found["old"][-1]["type"] == "cancelled"


def test_two_pages_at_once_both_get_their_dream(play) -> None:
    found: dict[str, list[dict]] = {}
    threads = [
        threading.Thread(target=lambda name=name: found.update({name: dream(play, page=name)}))
        for name in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(events[-1]["type"] == "done" for events in found.values()) and len(found) == 2


HOSTILE = [
    ("GET", "/", None, {"Host": "evil.example"}, 421),
    ("GET", "/", None, {"Host": "evil.example:80"}, 421),
    ("POST", "/api/simulate", {"scene": {}}, {"Origin": "http://evil.example"}, 403),
    ("POST", "/api/simulate", {"scene": {}}, {"Sec-Fetch-Site": "cross-site"}, 403),
    ("POST", "/api/simulate", b"x" * (1 << 20 | 1), {}, 413),
    ("POST", "/api/dream", b"{}", {"Content-Length": "104857600"}, 413),
    ("POST", "/api/simulate", b'{"scene": {"gravity": NaN, "bodies": []}}', {}, 400),
    ("POST", "/api/simulate", b"[" * 100_000, {}, 400),
    ("POST", "/api/simulate", b"\xff\xfe", {}, 400),
    ("POST", "/api/simulate", {"scene": {"bodies": [{}] * 10_000}}, {}, 400),
    ("POST", "/api/dream", {"scene": None, "mask": MASK}, {}, 400),
    ("POST", "/api/dream", {"video": "video-77", "mask": ["2"]}, {}, 400),
    ("POST", "/api/dream", {"video": "x", "mask": MASK, "seeds": [1] * 9}, {}, 400),
    ("POST", "/api/dream", {"video": "x", "mask": MASK, "seeds": [-1]}, {}, 400),
    ("POST", "/api/dream", {"video": "x", "mask": MASK, "steps": 10**9}, {}, 400),
    ("POST", "/api/dream", {"video": "x", "mask": ["0" * 64] * 16}, {}, 400),
    ("POST", "/api/dream", {"video": "x", "mask": MASK, "page": "p" * 99}, {}, 400),
    ("POST", "/api/video", b"", {}, 400),
    ("POST", "/api/video", b"%!PS-Adobe-3.0 EPSF" + b"0" * 99, {}, 400),
    ("GET", "/api/preset/nowhere/0", None, {}, 400),
    ("GET", "/api/preset/collide/123456789", None, {}, 400),
    ("GET", "/api/download/exe?page=none", None, {}, 400),
    ("GET", "/static/../server.py", None, {}, 404),
    ("GET", "/static/%2e%2e/server.py", None, {}, 404),
    ("DELETE", "/api/dream", None, {}, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status"), HOSTILE)
def test_hostile_requests_get_a_sentence(play, method, path, body, headers, status) -> None:
    try:
        found, told = call(play, method, path, body, headers)
    except (ConnectionError, http.client.HTTPException):
        assert status == 413  # hung up on before it had said everything
        found = 413
    assert found == status
    if status in (400, 403, 413, 421) and "told" in locals():
        assert isinstance(told, dict) and told["error"].endswith(".") and "Traceback" not in told["error"]
    assert call(play, "GET", "/")[0] == 200


def test_a_wish_for_a_sampler_that_does_not_fit_is_told_as_an_event(play) -> None:
    assert "Unknown sampler" in dream(play, sampler="magic")[-1]["error"]
    assert dream(play, video="gone", scene=None)[-1]["type"] == "error"


def test_who_hangs_up_does_not_block_the_next(play) -> None:
    body = json.dumps({"page": "gone", "scene": presets.preset("collide").scene, "mask": MASK, "steps": 50}).encode()
    with socket.create_connection(("127.0.0.1", play.port)) as wire:
        head = f"POST /api/dream HTTP/1.1\r\nHost: 127.0.0.1:{play.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        wire.sendall(head.encode() + body)
        wire.recv(200)
    assert dream(play, page="next", steps=1)[-1]["type"] == "done"


def test_answers_may_not_be_framed_sniffed_or_kept(play) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", play.port, timeout=20)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_open_network_needs_the_token(tiny_checkpoint: Path) -> None:
    server = start(tiny_checkpoint, "--host", "0.0.0.0")
    try:
        assert call(server, "GET", "/")[0] == 401
        assert call(server, "GET", "/?token=wrong")[0] == 401
        assert server.process.stderr is not None
        assert "Warning: with --host 0.0.0.0" in server.process.stderr.readline()
    finally:
        server.process.kill()
        server.process.wait(20)


def test_a_port_that_is_taken_is_said(play, tiny_checkpoint: Path, capsys) -> None:
    from vdt_mlx.cli import run, vdt_mlx

    with pytest.raises(SystemExit) as ended:
        run(vdt_mlx, args=["play", "--no-open", "--port", str(play.port), "--model", str(tiny_checkpoint)])
    assert ended.value.code == 2
    assert "cannot be listened on" in capsys.readouterr().err
