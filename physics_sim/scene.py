"""What a world contains at its first moment: bodies of rigid parts, joints between them, gravity."""

from dataclasses import dataclass, replace
from typing import Any

from physics_sim.shapes import Point, Shape
from physics_sim.units import AGENT_COLOUR, BACKGROUNDS, GRAVITY, PATIENT_COLOUR

Colour = tuple[int, int, int]
ROLES = ("agent", "patient", "distractor", "static")


@dataclass(frozen=True)
class Part:
    """One rigid piece: shapes around its centre of mass, where it is and how it moves (m, rad, m/s, rad/s)."""

    shapes: tuple[Shape, ...]
    position: Point
    angle: float = 0.0
    velocity: Point = (0.0, 0.0)
    angular_velocity: float = 0.0

    @property
    def area(self) -> float:
        return sum(shape.area for shape in self.shapes)


@dataclass(frozen=True)
class Body:
    """A thing with a name: usually one part; a chain or a cloth has one a link.

    role: `agent` and `patient` (those that the question is about), `distractor` (moves, or could), `static`.
    elasticity, friction: of its material; those of two materials in contact multiply.
    density: kg/m^2; mass follows from the area. A body with `fixed` has infinite mass whatever its role.
    """

    name: str
    role: str
    parts: tuple[Part, ...]
    colour: Colour
    elasticity: float = 0.5
    friction: float = 0.6
    density: float = 1.0
    fixed: bool = False
    rests: bool = False
    """Stands still until something touches it (if it is not moving)."""
    group: int = 0
    """Parts of one body, and bodies with the same group other than 0, pass through each other."""

    @property
    def asleep(self) -> bool:
        """Whether it starts out at rest, for the solver to leave alone until something touches it."""
        still = not any(part.angular_velocity or any(part.velocity) for part in self.parts)
        return self.rests and still and not self.fixed

    @property
    def mass(self) -> float:
        """kg; infinite for a fixed body."""
        return float("inf") if self.fixed else self.density * sum(part.area for part in self.parts)

    @property
    def shape(self) -> dict[str, Any]:
        """A JSON-able description: the shape's own for a single one, else `compound` or `chain` with `pieces`."""
        pieces = [shape.describe() for part in self.parts for shape in part.shapes]
        if len(pieces) == 1:
            return pieces[0]
        return {"kind": "chain" if len(self.parts) > 1 else "compound", "pieces": pieces}

    def moving(self, velocity: Point, angular_velocity: float = 0.0) -> "Body":
        """The same body with every part moving so."""
        parts = tuple(replace(p, velocity=velocity, angular_velocity=angular_velocity) for p in self.parts)
        return replace(self, parts=parts, rests=False)


@dataclass(frozen=True)
class Joint:
    """Two parts turn freely about a point of the world: each is (body name, part index); None is the world."""

    first: tuple[str, int]
    second: tuple[str, int] | None
    point: Point


@dataclass(frozen=True)
class Scene:
    bodies: tuple[Body, ...]
    joints: tuple[Joint, ...] = ()
    gravity: float = GRAVITY
    background: Colour = BACKGROUNDS[0]

    def __getitem__(self, name: str) -> Body:
        return next(body for body in self.bodies if body.name == name)

    def index(self, role: str) -> int | None:
        """Place of the first body with this role, or None."""
        return next((i for i, body in enumerate(self.bodies) if body.role == role), None)

    def with_body(self, name: str, **changes: Any) -> "Scene":
        """The same scene with fields of one body changed."""
        return self.swap(replace(self[name], **changes))

    def swap(self, body: Body) -> "Scene":
        """The same scene with the body of that name replaced."""
        return replace(self, bodies=tuple(body if b.name == body.name else b for b in self.bodies))


def agent(shape: Shape, position: Point, angle: float = 0.0, **material: float) -> Body:
    return Body("agent", "agent", (Part((shape,), position, angle),), AGENT_COLOUR, **material)  # type: ignore[arg-type]


def patient(shape: Shape, position: Point, angle: float = 0.0, **material: float) -> Body:
    """Rests, unless it is made to move."""
    part = Part((shape,), position, angle)
    return Body("patient", "patient", (part,), PATIENT_COLOUR, rests=True, **material)  # type: ignore[arg-type]


def thing(name: str, shape: Shape, position: Point, colour: Colour, angle: float = 0.0, **material: float) -> Body:
    """A distractor; rests, unless it is made to move."""
    part = Part((shape,), position, angle)
    return Body(name, "distractor", (part,), colour, rests=True, **material)  # type: ignore[arg-type]


def fixture(name: str, shapes: tuple[Shape, ...], position: Point, colour: Colour, angle: float = 0.0) -> Body:
    """Static scenery: it does not move, and neither damps nor grips more than what touches it."""
    part = Part(shapes, position, angle)
    return Body(name, "static", (part,), colour, elasticity=1.0, friction=1.0, fixed=True)
