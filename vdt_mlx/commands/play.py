"""`vdt-mlx play`: the playground on this machine."""

import secrets
import socket
import sys
import threading
import webbrowser
from typing import Any

import click

from vdt_mlx.errors import VDTError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command()
@click.option("--model", default="physics", show_default=True, help="A registered name, a folder or a hub repository.")
@click.option("--port", type=click.IntRange(0, 65535), default=8642, show_default=True, help="0: any that is free.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others may come from 0.0.0.0.")
@click.option("--open/--no-open", "opens", default=True, help="Open the page in the browser.")
def play(model: str, port: int, host: str, opens: bool) -> None:
    """Draw a scene, throw things, and see what the model dreams beside what happens."""
    try:
        import uvicorn

        from vdt_mlx.play.server import Playground, build
    except ModuleNotFoundError as error:
        raise VDTError(f"The playground needs {error.name}: pip install 'vdt-mlx[play]'.") from None
    listener = _listen(host, port)
    port = listener.getsockname()[1]
    token = None
    if host not in LOOPBACK:
        token = secrets.token_urlsafe(16)
        click.echo(
            f"Warning: with --host {host} everybody on this network who has the token can use this page.", err=True
        )
    click.echo("Loading the model ...", err=True)
    playground = Playground(model, _load)
    playground.make_first()
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    click.echo(f"The playground is at {address}  (Ctrl-C ends it)")
    if opens:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    hosts = None if token else {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}
    config = uvicorn.Config(
        build(playground, hosts, token),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
        h11_max_incomplete_event_size=1 << 16,
    )
    server: Any = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        playground.thread.shutdown(wait=False, cancel_futures=True)
    sys.stderr.flush()


def _load(model: str) -> Any:
    from vdt_mlx.pipeline import Pipeline

    return Pipeline.from_pretrained(model)


def _listen(host: str, port: int) -> socket.socket:
    """A bound socket, before the model is loaded. Raises VDTError if the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise VDTError(
            f"--host {host} --port {port} cannot be listened on ({reason}); --port 0 takes a free one."
        ) from None
    listener.listen(128)
    return listener
