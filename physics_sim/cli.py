"""The command lines: `python -m physics_sim` and its commands; `simulate` is `vdt-mlx simulate` too."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from physics_sim.errors import SimulationError
from physics_sim.names import SPLITS, everything, is_law, laws, scenarios
from physics_sim.worlds import PROFILES, WORLD_VERSION, find_profile

HEARTBEAT = 30.0
"""Seconds."""
SCENARIO_HELP = "all, scenarios, laws, or names with commas: " + ", ".join(everything()) + "."


class UserPath(click.Path):
    """A path as somebody wrote it: `~` is expanded, and what is no UTF-8 is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = os.fsdecode(value)
        try:
            text.encode("utf-8")
            expanded = str(Path(text).expanduser()) if text.startswith("~") else text
        except UnicodeEncodeError:
            self.fail(f"{text!a} is not UTF-8; rename it.", param, ctx)
        except RuntimeError:
            self.fail(f"{text!r} begins with a user that is not known here.", param, ctx)
        return super().convert(expanded, param, ctx)


def _complete_names(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Scenarios for the Tab key; after a comma, one more."""
    before, comma, last = typed.rpartition(",")
    known = everything() if comma else ("all", "scenarios", "laws", *everything())
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; a line every half minute where that is no terminal."""
    if not sys.stderr.isatty():
        latest = time.monotonic()

        def beat(done: int, total: int) -> None:
            nonlocal latest
            if time.monotonic() - latest > HEARTBEAT:
                latest = time.monotonic()
                click.echo(f"{what}: {done} of {total}.", err=True)

        yield beat
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _run_files(context: click.Context, option: click.Parameter, paths: tuple[str, ...]) -> None:
    if paths:
        from physics_sim.scenarios import run_file
    for path in paths:
        run_file(path)


def clip_options(split: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options that every command which makes clips has; `split` is their default."""
    options = (
        click.option("--seed", default=0, show_default=True, help="0 is the official data."),
        click.option(
            "--world", default=str(WORLD_VERSION), show_default=True, help=f"Version: {', '.join(map(str, PROFILES))}."
        ),
        click.option("--given", type=int, help="Frames shown before a contact may come.  [default: the world's]"),
        click.option(
            "--code",
            type=UserPath(dir_okay=False),
            multiple=True,
            is_eager=True,
            expose_value=False,
            callback=_run_files,
            help="A Python file that registers scenarios; may be given several times.",
        ),
        click.option("--frames", type=int, help="Frames of a clip.  [default: the world's, 16]"),
        click.option("--split", default=split, show_default=True, help=f"One of {', '.join(SPLITS)}."),
        click.option(
            "--scenario", default="all", show_default=True, help=SCENARIO_HELP, shell_complete=_complete_names
        ),
    )

    def add(command: Callable[..., None]) -> Callable[..., None]:
        return reduce(lambda made, option: option(made), options, command)

    return add


def names_of(text: str, split: str, world: str) -> tuple[str, ...]:
    """The scenarios that an option names; of a group, those that have the split in that world."""
    from physics_sim.sampling import splits

    groups = {"all": everything(), "scenarios": scenarios(), "laws": laws()}
    if text not in groups:
        return tuple(name.strip() for name in text.split(","))
    if split not in SPLITS:
        raise SimulationError(f"There is no split {split!r}; there are {', '.join(SPLITS)}.")
    find_profile(world)
    names = tuple(name for name in groups[text] if split in splits(name, world))
    if not names:
        where = "" if world == str(WORLD_VERSION) else f" in world {world}"
        raise SimulationError(f"None of the {text} has the split {split!r}{where}.")
    return names


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """A simulated world of balls, blocks and chains, drawn as short clips with exact labels."""


@cli.command()
@clip_options("train")
@click.option("--clips", default=1000, show_default=True, help="How many, shared out among the scenarios in turn.")
@click.option(
    "--out", required=True, type=UserPath(), help="A folder: new, empty, or with the same data set unfinished."
)
@click.option("--start", default=0, show_default=True, help="Number of the first clip, for parts made elsewhere.")
@click.option("--size", default=64, show_default=True, help="Side of a frame in pixels.  [phyworld: 256]")
@click.option("--workers", default=1, show_default=True, help="Processes; they do not change the data.")
@click.option("--shard", default=220, show_default=True, help="Clips a shard.")
@click.option(
    "--chaos", is_flag=True, help="Also run every clip with ten times the substeps, to flag chaotic ones (slow)."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("webdataset", "phyworld")),
    default="webdataset",
    show_default=True,
    help="phyworld: HDF5 files of the laws as PhyWorld's code reads them (needs h5py).",
)
@click.pass_context
def simulate(context: click.Context, form: str, workers: int, **options: Any) -> None:
    """Write a data set of clips with labels and states, in WebDataset shards or in PhyWorld's HDF5.

    Run it again to go on after a stop, and with more --clips to extend a data set.
    """
    if form == "phyworld":
        chosen = {name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT}
        _simulate_phyworld(chosen, workers, **options)
        return
    from physics_sim import dataset

    out, split, names = options.pop("out"), options["split"], options.pop("scenario")
    spec = dataset.DataSetSpec(names_of(names, split, options["world"]), **options)
    with progress("Simulating") as bar:
        index = dataset.write(out, spec, workers=workers, progress=bar)
    click.echo(
        f"{spec.clips} clips of {', '.join(spec.scenarios)} ({split}) are in {index.parent}; "
        f"the index is {index}.\n"
        f"Next: vdt-mlx train vdt --set data.source=folder --set data.path={index.parent}, or extend it: --clips N."
    )


def _simulate_phyworld(chosen: set[str], workers: int, **options: Any) -> None:
    """Writes a file a law; `chosen` are the options that were given."""
    from physics_sim import phyworld

    for name in ("given", "start", "shard", "chaos"):
        if name in chosen:
            raise SimulationError(f"--{name} does nothing with --format phyworld.")
    if "world" in chosen and options["world"] != "phyworld":
        raise SimulationError(f"--format phyworld has clips of the world phyworld, not of {options['world']}.")
    laws_only = "laws" if options["scenario"] == "all" else options["scenario"]
    names = names_of(laws_only, options["split"], "phyworld")
    paths = []
    for place, name in enumerate(names):
        clips = (options["clips"] + len(names) - 1 - place) // len(names)
        spec = phyworld.FileSpec(
            name,
            options["split"],
            clips,
            options["seed"],
            options["size"] if "size" in chosen else phyworld.SIZE,
            options["frames"] or 32,
        )
        with progress(f"Simulating {name}") as bar:
            paths.append(phyworld.write(options["out"], spec, workers=workers, progress=bar))
    for path in paths:
        click.echo(path)
    click.echo(f"Next: vdt-mlx train vdt --set data.source=phyworld --set data.path={paths[0]}.")


@cli.command()
@clip_options("train")
@click.option("--clips", default=4, show_default=True, type=click.IntRange(1, 64), help="Clips of each.")
@click.option("--out", required=True, type=UserPath(file_okay=False), help="Folder for the pictures.")
@click.option("--size", default=128, show_default=True, help="Side of a frame in pixels.")
def preview(
    scenario: str,
    split: str,
    frames: int | None,
    given: int | None,
    world: str,
    seed: int,
    clips: int,
    out: str,
    size: int,
) -> None:
    """Draw a contact sheet and an animation of every scenario."""
    from physics_sim.preview import write_previews

    with progress("Drawing") as bar:
        names = names_of(scenario, split, world)
        options: dict[str, Any] = {"frames": frames, "given": given, "world": world, "seed": seed}
        paths = write_previews(out, names, split=split, clips=clips, size=size, progress=bar, **options)
    for path in paths:
        click.echo(path)


@cli.command()
@click.option("--scenario", default="scenarios", show_default=True, help="scenarios, or names with commas.")
@click.option("--fitted", default=400, show_default=True, type=click.IntRange(10, 100000), help="Clips to fit on.")
@click.option("--tested", default=300, show_default=True, type=click.IntRange(10, 100000), help="Clips to test on.")
@click.option(
    "--chaos", default=0, show_default=True, type=click.IntRange(0, 100000), help="Of those, clips to run finely."
)
@click.option("--split", default="test", show_default=True, help="The split to test on.")
def leak(scenario: str, fitted: int, tested: int, chaos: int, split: str) -> None:
    """What a logistic regression on the first frame's states answers right."""
    from physics_sim.leak import measure_leak

    names = names_of(scenario, split, str(WORLD_VERSION))
    for name in names:
        if is_law(name):
            raise SimulationError(f"The question is not asked of the law {name}.")
    rows = []
    with progress("Fitting") as bar:
        for done, name in enumerate(names):
            row = measure_leak(name, fitted=fitted, tested=tested, split=split, chaos=chaos)
            rows.append([name, *(f"{100 * v:.1f}" for v in (row.seen, row.states, row.informed, row.contact))])
            rows[-1].append("not run" if row.chaotic != row.chaotic else f"{100 * row.chaotic:.1f}")
            bar(done + 1, len(names))
    title = f"Accuracy in % on {tested} clips ({split}), fitted on {fitted} others"
    _table(title, ["", "one frame", "its states", "with hindsight", "contact", "chaotic"], rows)


@cli.command("fingerprint")
@clip_options("test")
@click.option("--clips", default=20, show_default=True, type=click.IntRange(1), help="Clips of each.")
def print_fingerprint(
    scenario: str, split: str, frames: int | None, given: int | None, world: str, seed: int, clips: int
) -> None:
    """SHA-256 of the states, rounded to 1e-6, of the first clips of every scenario."""
    from physics_sim.digest import fingerprint
    from physics_sim.sampling import make_clip

    options: dict[str, Any] = {"seed": seed, "frames": frames, "given": given, "world": world}
    for name in names_of(scenario, split, world):
        digest = fingerprint(make_clip(name, split, index, **options) for index in range(clips))
        click.echo(f"{digest}  {name} {split} 0..{clips - 1}")


def _table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def run(command: click.Command, arguments: list[str] | None = None, name: str = "python -m physics_sim") -> Any:
    """Runs a command; exits with 2 and one sentence for bad input, 130 for Ctrl-C."""
    import errno

    try:
        command.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        raise SystemExit(130) from None
    except SimulationError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    except OSError as error:
        what = "The disk is full" if error.errno == errno.ENOSPC else f"{error}"
        click.echo(f"Error: {what}.", err=True)
        raise SystemExit(2) from None
    except MemoryError:
        click.echo("Error: there is not enough memory for this.", err=True)
        raise SystemExit(2) from None


def main() -> None:
    run(cli)
