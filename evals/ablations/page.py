"""What a person reads: tables on a terminal, and the same with pictures as a page (`docs/ablations.md`)."""

import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from evals.ablations.analysis import Arm, Estimate, Resamples, agreement, extrapolation, laws, rank_correlation
from evals.ablations.plan import Comparison, Plan

COLUMNS = ("arm", "M", "GFLOPs", "seeds", "ADE, px", "velocity", "outside", "ratio", "contact, %", "SSIM")


def rows(plan: Plan, comparison: Comparison, arms: dict[str, Arm], reference: Arm) -> list[list[str]]:
    """One row an arm, as COLUMNS names them, and one for what needs no training."""
    draws, given, world = Resamples(), plan.world.given, plan.world
    inside, outside = laws(world.inside), laws(world.outside)
    found = []
    for name in (*comparison.arms, reference.name):
        arm = reference if name == reference.name else arms.get(name)
        if arm is None:
            found.append([name, *["not run yet", *[""] * (len(COLUMNS) - 2)]])
            continue

        def cell(metric: str, groups: tuple[str, ...], scale: float = 1, digits: int = 2, arm: Arm = arm) -> str:
            if not groups:
                return "–"
            return span(draws.estimate(arm.column(given, metric, groups)), scale, digits)

        found.append(
            [
                name,
                f"{arm.parameters / 1e6:.2f}" if arm.parameters else "–",
                f"{arm.gflops:.2f}" if arm.parameters else "–",
                str(arm.seeds) if arm.parameters else "–",
                cell("ade", world.inside),
                cell("velocity", inside),
                cell("velocity", outside),
                span(extrapolation(plan, arm, draws), digits=1) if inside and outside else "–",
                cell("contact", world.inside, 100, 0),
                cell("ssim", world.inside, digits=3),
            ]
        )
    return found


def span(found: Estimate, scale: float = 1, digits: int = 2) -> str:
    """`mean (low to high)`."""
    if found.mean != found.mean:  # NaN: the metric applies to none of the clips
        return "–"
    mean, low, high = (f"{scale * value:.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})"


def against_centre(plan: Plan, comparison: Comparison, arms: dict[str, Arm]) -> list[str]:
    """One sentence an arm: how its error differs from the centre's on the same clips, if significantly."""
    draws, given, groups = Resamples(), plan.world.given, plan.world.inside
    if "centre" not in arms or "centre" not in comparison.arms:
        return []
    centre = arms["centre"].column(given, "ade", groups)
    sentences = []
    for name in comparison.arms:
        if name == "centre" or name not in arms:
            continue
        gap = draws.difference(centre, arms[name].column(given, "ade", groups))
        word = "within noise of" if not gap.significant else "nearer to the truth than" if gap.mean < 0 else "behind"
        sentences.append(f"{name} is {word} the centre: {gap.mean:+.2f} px ({gap.low:+.2f} to {gap.high:+.2f}).")
    return sentences


def markdown(plan: Plan, arms: dict[str, Arm], reference: Arm, pictures: Path, command: str) -> str:
    """The page; `pictures` is where its images are, relative to it."""
    loop = plan.train.config.get("loop", {})
    clips = int(loop.get("steps", 0)) * int(loop.get("batch", 0))
    lines = [
        "# Ablations: what pays in a small video model",
        "",
        f"Made by `{command}` on {_machine()}, {date.today():%Y-%m-%d}. Every arm is the centre with the named keys "
        f"changed, trained on {clips} clips in the same order. ADE: distance of every moving object from the truth "
        f"over the predicted frames, {plan.world.given} context frames, {plan.world.clips} clips a group, px of 64. "
        "velocity: error on the laws in distribution, px a frame; outside: out of distribution; ratio: outside over "
        "inside. M: million parameters. In brackets: 95 % intervals over clips and seeds; two or three seeds say "
        "little about the spread over seeds.",
        "",
        f"![Error against GFLOPs]({pictures}/error-gflops.png)",
        "",
        _correlation(plan, arms),
        "",
        _against_reference(plan, arms, reference),
        "",
        "## Extrapolation",
        "",
        f"![Extrapolation ratio]({pictures}/extrapolation.png)",
        "",
        f"![Error against context frames]({pictures}/context-frames.png)",
        "",
    ]
    waiting = []
    for comparison in plan.comparisons:
        if sum(name in arms for name in comparison.arms) > 1:
            lines += _section(plan, comparison, arms, reference, pictures)
        else:
            waiting.append(comparison.title)
    if waiting:
        lines += ["## Not run yet", "", "; ".join(waiting) + "."]
    return "\n".join(lines).rstrip() + "\n"


def _section(plan: Plan, comparison: Comparison, arms: dict[str, Arm], reference: Arm, pictures: Path) -> Iterable[str]:
    yield from (f"## {comparison.title}", "")
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for row in rows(plan, comparison, arms, reference):
        yield "| " + " | ".join(row) + " |"
    yield ""
    for sentence in against_centre(plan, comparison, arms):
        yield f"- {sentence}"
    if comparison.paper:
        yield f"- The paper: {comparison.paper} ({comparison.source})."
    found = agreement(plan, comparison, arms)
    if found:
        yield f"- Its order, here: {found}"
    yield from ("", f"![Convergence]({pictures}/convergence-{comparison.name}.png)", "")


def _against_reference(plan: Plan, arms: dict[str, Arm], reference: Arm) -> str:
    """Which arms are nearer to the truth than what needs no training, if any."""
    draws, given, groups = Resamples(), plan.world.given, plan.world.inside
    still = reference.column(given, "ade", groups)
    gaps = {name: draws.difference(still, arm.column(given, "ade", groups)) for name, arm in arms.items()}
    ahead = [name for name, gap in gaps.items() if gap.significant and gap.mean < 0]
    behind = [name for name, gap in gaps.items() if gap.significant and gap.mean > 0]
    near = [name for name in gaps if name not in ahead and name not in behind]
    parts = [
        f"{word}: {', '.join(names)}"
        for word, names in (("ahead", ahead), ("within noise", near), ("behind", behind))
        if names
    ]
    return f"Against {reference.name}, in distribution: {'; '.join(parts)}."


def _correlation(plan: Plan, arms: dict[str, Arm]) -> str:
    found = rank_correlation(plan, arms)
    if found is None:
        return "With fewer than four arms there is no rank correlation of error and GFLOPs."
    claim = "The paper: error falls with GFLOPs. "
    value = f"Spearman's rank correlation of ADE and GFLOPs over {len(arms)} arms is {found.mean:.2f}"
    value += f" ({found.low:.2f} to {found.high:.2f}): "
    if not found.significant:
        return claim + value + "at this size the arms do not tell."
    return claim + value + ("as in the paper." if found.mean < 0 else "the opposite, at this size.")


def _machine() -> str:
    import os

    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"
