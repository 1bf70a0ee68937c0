"""The face that every algorithm shows to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Array, Float, PRNGKeyArray

from surefoot.task import Task
from surefoot.worlds.world import Acts, World

if TYPE_CHECKING:
    from surefoot.data.demonstrations import Demonstrations

Metrics = dict[str, Float[Array, ""]]
"""What an iteration reports: always the same names, scalars, NaN where a number does not exist yet."""


class Learner(Protocol):
    """An algorithm: an immutable Equinox module whose fields are its settings.

    It never logs, prints, saves or knows about seeds. One that recovers a reward has a method
    ``reward(state)`` as well, which returns a ``RewardNetwork``; the run folder keeps it apart. One with
    further policies to evaluate while training names them in ``also_evaluated`` and has ``other_policy(state,
    name)``. One that acts by planning says ``plans = True``: it is evaluated from its checkpoint, since the
    exported policy is its actor alone. One that can begin at another run's policy has ``start_from(state,
    policy, critics)``; ``critics`` is what that run's state has under this name, or ``None``. ``usual_envs``
    is how many environments the command line makes for it (16 if absent). One that may be done before its
    steps are has ``target(metrics)``, see :class:`Targeted`. One that cannot learn in every world has
    ``check(world)``, which raises :class:`surefoot.errors.SurefootError`; one that does less in some task, or
    in few iterations, has ``cautions(task, iterations)``: what there is to warn of, in words, by what it is
    about.
    """

    needs_demonstrations: ClassVar[bool]
    """Whether ``init`` must be given demonstrations."""
    interacts: ClassVar[bool]
    """False if it learns from demonstrations alone; ``steps`` then counts gradient steps."""

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps (or gradient steps, if it does not interact) that an iteration takes."""
        ...

    def init(self, task: Task, key: PRNGKeyArray, *, demonstrations: Demonstrations | None = None) -> Any:
        """The state before the first iteration: a pytree that holds everything a resumed run needs."""
        ...

    def policy(self, state: Any) -> Acts:
        """What acts while learning; also what is exported."""
        ...

    def iteration(self, state: Any, world: World, key: PRNGKeyArray) -> tuple[Any, World, Metrics]:
        """One pass of the algorithm's loop."""
        ...


@runtime_checkable
class Targeted(Protocol):
    """A learner that stops as soon as every seed has reached a target."""

    def target(self, metrics: Mapping[str, float]) -> tuple[bool, str] | None:
        """Whether the target is reached, and in words how far it is, such as ``"cost 4.2, target 5"``.

        ``metrics`` are those of one seed's newest iteration; the driver asks after every block. ``None``
        where no target is set.
        """
        ...
