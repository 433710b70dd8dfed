"""`vdt-mlx`: a table of commands, each loaded only when it is called, and one way to end with a clear sentence."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any, NoReturn

import click

from vdt_mlx import siblings, standard_streams
from vdt_mlx.errors import harmless

# name: (module, attribute, one line for --help)
COMMANDS = {
    "sample": ("vdt_mlx.commands.sample", "sample", "Generate a clip: predict, interpolate, fill in, ..."),
    "play": ("vdt_mlx.commands.play", "play", "Throw a ball and watch what the model dreams, in the browser."),
    "train": ("vdt_mlx.commands.train", "train", "Train an autoencoder or a VDT on this machine."),
    "simulate": ("physics_sim.cli", "simulate", "Make a data set of simulated clips."),
    "convert": ("weights.commands", "convert", "Bring PyTorch, diffusers or CompVis weights into MLX."),
    "export": ("weights.commands", "export", "Write a checkpoint under the official names."),
    "info": ("weights.commands", "info", "Say what a checkpoint is."),
    "models": ("weights.commands", "models", "List the checkpoints that have names."),
    "features": ("vdt_mlx.commands.features", "features", "Write what a block of a model makes of clips."),
    "physics": ("vdt_mlx.commands.physics", "physics", "Examine a checkpoint's physics (python -m evals.physics)."),
    "selftest": ("vdt_mlx.commands.selftest", "selftest", "Check this device against recorded numbers."),
}


class LazyGroup(click.Group):
    """A click group that knows its commands' names and one-line helps without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[name]
        return getattr(import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(COMMANDS)}."
            raise click.UsageError(f"There is no command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vdt-mlx", prog_name="vdt-mlx")
def vdt_mlx() -> None:
    """Video diffusion transformers in MLX, and what they know about physics.

    Start with: vdt-mlx sample --task predict
    """


def main() -> NoReturn:
    """The console script."""
    run(vdt_mlx)


def run(command: click.Command, **options: Any) -> NoReturn:
    """Runs a click command and exits: 0, 2 with one sentence on standard error for bad input, 130 after Ctrl-C.

    SIGTERM and SIGHUP end it as Ctrl-C does, with what it had begun to write cleared away; the status is 128 and the
    signal's number.
    """
    standard_streams.prepare()
    with _interrupts() as received:
        try:
            siblings.claim("physics_sim", "weights")
            result = command.main(standalone_mode=False, **options)
            sys.stdout.flush()
            sys.exit(result if isinstance(result, int) else 0)
        except SystemExit:
            raise
        except BaseException as error:
            if received or isinstance(error, click.Abort | KeyboardInterrupt):
                number = received[0] if received else signal.SIGINT
                with suppress(OSError):  # a terminal that was closed takes no words
                    click.echo("Interrupted." if number == signal.SIGINT else f"Ended by {number.name}.", err=True)
                sys.exit(128 + number)
            _report(error)


def _report(error: BaseException) -> NoReturn:
    from physics_sim.errors import SimulationError
    from vdt_mlx.errors import VDTError

    if isinstance(error, click.ClickException):
        error.show()
        sys.exit(2)
    if isinstance(error, VDTError | SimulationError):
        _fail(str(error))
    if isinstance(error, BrokenPipeError):
        # The reader of our output left (`| head`); nothing more can be said to it.
        standard_streams.abandon_output()
        sys.exit(0)
    if isinstance(error, OSError):
        _fail(_os_sentence(error))
    if isinstance(error, ImportError) and (said := siblings.faults()):
        _fail(f"{error}. {' '.join(said)}")
    if isinstance(error, MemoryError):
        _fail(
            "There is not enough memory on this machine for that; try fewer frames, a smaller batch or a smaller model."
        )
    if isinstance(error, RuntimeError) and "temp_directory_path" in str(error):  # where MLX compiles its kernels
        where = os.environ.get("TMPDIR", "/tmp")
        _fail(f"There is no folder for temporary files at {where}: make it, or name another one in TMPDIR.")
    if isinstance(error, RuntimeError) and "alloc" in str(error).lower():  # MLX reports failed allocations so
        _fail(f"There is not enough memory on this machine for that ({str(error).splitlines()[0]}).")
    raise error


# Seconds after which a Ctrl-C that was raised is looked for again.
LOST_AFTER = 1.0
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _interrupts() -> Iterator[list[signal.Signals]]:
    """Signals to end that do not get lost; yields a list that those received are appended to.

    Each raises KeyboardInterrupt, so that what was begun is cleared away. One that comes in an extension module's
    import can come out as another error, or not at all, so it waits for the import's end; one in a destructor or a
    callback of C code is printed and forgotten, so it is sent again. So is any that nobody handles LOST_AFTER seconds
    later: C code that calls Python may have cleared it. A signal that is ignored, or that somebody else handles, stays
    as it is.
    """
    received: list[signal.Signals] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {number: signal.getsignal(number) for number in ENDINGS if signal.getsignal(number) in usual}
    if not before:
        yield received
        return
    process = os.getpid()
    print_and_forget = sys.unraisablehook
    timers: list[threading.Timer] = []
    resent = threading.Event()
    over = False

    def send() -> None:
        resent.set()
        os.kill(os.getpid(), received[-1] if received else signal.SIGINT)

    def send_again(seconds: float) -> None:
        timers.append(threading.Timer(seconds, send))
        timers[-1].daemon = True
        timers[-1].start()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:  # a forked child has nothing to clear
            signal.signal(number, signal.SIG_DFL)
            return os.kill(os.getpid(), number)
        received.append(signal.Signals(number))
        if over:
            return None
        again = resent.is_set()
        resent.clear()
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                return send_again(0.05)
            frame = frame.f_back
        send_again(LOST_AFTER)
        if again and _handled(sys.exc_info()[1]):  # not lost: its clean-up takes a while, and is not to be cut short
            return None
        raise KeyboardInterrupt

    def not_forgotten(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            send_again(0.05)
        else:
            print_and_forget(unraisable)

    for number in before:
        signal.signal(number, interrupt)
    sys.unraisablehook = not_forgotten
    try:
        yield received
    finally:
        over = True
        for timer in timers:
            timer.cancel()
        for timer in timers:
            timer.join()
        sys.unraisablehook = print_and_forget
        for number, handler in before.items():
            signal.signal(number, handler)


def _handled(error: BaseException | None) -> bool:
    """Whether a KeyboardInterrupt is among what is being handled."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _fail(sentence: str) -> NoReturn:
    click.echo(f"Error: {harmless(sentence)}", err=True)
    sys.exit(2)


def _os_sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"The disk is full{where}; nothing that existed was changed."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Permission denied{where}."
    return f"{error.strerror or error}{where}."


if __name__ == "__main__":
    main()
