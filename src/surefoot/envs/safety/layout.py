"""Where things are put at the start, and where the next goal is.

Things are placed one after another, each uniformly in its square until it keeps clear of all before it. A
thing that finds no place in 100 tries throws the whole layout away. At the end the goal is drawn once more,
against everything else.

Two sources of chance:

* :class:`Layouts`, the default: all worlds at once, each from its own stream. A stream is two integers (a
  seed and a count of draws), so a world's chance depends on nothing but its seed, and is easily saved.
* :class:`OriginalLayouts`: number for number the stream of the package that defined these tasks, to compare
  with it seed by seed. One world at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surefoot.envs.safety.task import Task
from surefoot.errors import SurefootError

TRIES = 100
"""For each thing of a layout."""
FIRST_TRIES = 8
"""That are drawn at once."""
LARGEST_NUMBER_OF_LAYOUTS = 1000
GOAL_TRIES = 10_000


class Layouts:
    """Layouts for ``worlds`` worlds of one task, drawn for many of them at once."""

    def __init__(self, task: Task, worlds: int) -> None:
        self.task = task
        self.keepouts = task.keepouts
        self.seeds = np.zeros(worlds, np.uint64)
        self.draws = np.zeros(worlds, np.uint64)

    def seed(self, world: int, seed: int) -> None:
        """Starts the stream of one world anew."""
        self.seeds[world] = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
        self.draws[world] = 0

    def step(self, worlds: np.ndarray) -> None:
        """Called once an action; consumes nothing."""

    def layouts(self, worlds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places ``[m, things, 2]`` and yaws ``[m, things]`` for these worlds.

        Raises:
            SurefootError: 1000 layouts failed; names the kind that found no place most often.
        """
        streams = [self._stream(world) for world in worlds.tolist()]
        things = len(self.keepouts)
        places, failures = np.zeros((len(worlds), things, 2)), np.zeros(things, int)
        left = np.arange(len(worlds))
        for _ in range(LARGEST_NUMBER_OF_LAYOUTS):
            places[left], failed = self._place([streams[i] for i in left.tolist()])
            failures += np.bincount(failed[failed >= 0], minlength=things)
            left = left[failed >= 0]
            if not len(left):
                break
        else:
            raise crowded(self.task, failures)
        yaws = np.stack([stream.uniform(0, 2 * np.pi, things) for stream in streams])
        goal = self.task.where("goal").start
        others = np.delete(places, goal, axis=1)
        places[:, goal], found = self._goals(streams, others)
        if not found.all():
            raise crowded(self.task, np.arange(things) == goal)
        return places, yaws

    def goals(self, worlds: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A new goal for each of these worlds.

        Args:
            worlds: which.
            others: where everything else is now, ``[m, things - 1, 2]``.

        Returns:
            Goals ``[m, 2]``, and whether one was found ``[m]``.
        """
        return self._goals([self._stream(world) for world in worlds.tolist()], others)

    def save(self) -> dict[str, np.ndarray]:
        """The streams, as arrays with one row a world."""
        return {"layout_seeds": self.seeds.copy(), "layout_draws": self.draws.copy()}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Goes on where :meth:`save` was called."""
        self.seeds[:], self.draws[:] = saved["layout_seeds"], saved["layout_draws"]

    def _stream(self, world: int) -> np.random.Generator:
        """Fresh numbers: the key of a counter-based generator is the seed and the count of draws."""
        key = np.array([self.seeds[world], self.draws[world]], np.uint64)
        self.draws[world] += np.uint64(1)
        return np.random.Generator(np.random.Philox(key=key))

    def _place(self, streams: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
        """Places ``[m, things, 2]``; for each layout the thing that found no place, else -1."""
        worlds, things = len(streams), len(self.keepouts)
        tries = np.stack([stream.random((things, FIRST_TRIES, 2)) for stream in streams])
        places, failed = np.zeros((worlds, things, 2)), np.full(worlds, -1)
        for thing, keepout in enumerate(self.keepouts):
            reach, apart = self.task.extent - keepout, self.keepouts[:thing] + keepout
            here = (2 * tries[:, thing] - 1) * reach
            free = self._clear(here, places[:, :thing], apart)
            places[:, thing] = here[np.arange(worlds), free.argmax(axis=1)]
            # The first tries nearly always do; the others are not drawn before they are needed.
            for i in np.flatnonzero(~free.any(axis=1) & (failed < 0)).tolist():
                more = (2 * streams[i].random((1, TRIES - FIRST_TRIES, 2)) - 1) * reach
                free_more = self._clear(more, places[i : i + 1, :thing], apart)[0]
                places[i, thing] = more[0, free_more.argmax()]
                failed[i] = -1 if free_more.any() else thing
        return places, failed

    def _goals(self, streams: list[np.random.Generator], others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        goal = self.task.where("goal").start
        reach = self.task.extent - self.keepouts[goal]
        apart = np.delete(self.keepouts, goal) + self.keepouts[goal]
        goals, found = np.zeros((len(streams), 2)), np.zeros(len(streams), bool)
        for _ in range(0, GOAL_TRIES, FIRST_TRIES):
            left = np.flatnonzero(~found)
            tries = np.stack([streams[i].random((FIRST_TRIES, 2)) for i in left.tolist()])
            here = (2 * tries - 1) * reach
            free = self._clear(here, others[left], apart)
            goals[left] = here[np.arange(len(left)), free.argmax(axis=1)]
            found[left] = free.any(axis=1)
            if found.all():
                break
        return goals, found

    @staticmethod
    def _clear(here: np.ndarray, placed: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """Which of ``here`` ``[m, tries, 2]`` are ``apart`` ``[k]`` from all of ``placed`` ``[m, k, 2]``."""
        if placed.shape[1] == 0:
            return np.ones(here.shape[:2], bool)
        distance = np.linalg.norm(here[:, :, None] - placed[:, None], axis=3)
        return (distance >= apart).all(axis=2)


class OriginalLayouts:
    """The same for the original's stream: NumPy's legacy generator, drawn in the original's order.

    A place is two draws, x then y; every action consumes one draw; ``reset`` without a seed goes on.
    """

    def __init__(self, task: Task, worlds: int) -> None:
        self.task = task
        self.keepouts = task.keepouts
        self.streams: list[Any] = [np.random.RandomState(world) for world in range(worlds)]

    def seed(self, world: int, seed: int) -> None:
        """Starts the stream of one world anew."""
        if not 0 <= seed < 2**32:
            raise SurefootError(f"seed = {seed}: the original's seeds lie in [0, 2^32).")
        self.streams[world] = np.random.RandomState(seed)

    def step(self, worlds: np.ndarray) -> None:
        """The original draws the number of physics steps, which is always ten."""
        for world in worlds.tolist():
            self.streams[world].random_sample()

    def layouts(self, worlds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Layouts.layouts`."""
        drawn = [self._layout(self.streams[world]) for world in worlds.tolist()]
        return np.stack([places for places, _ in drawn]), np.stack([yaws for _, yaws in drawn])

    def goals(self, worlds: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See :meth:`Layouts.goals`."""
        goal = self.task.where("goal").start
        keepouts = np.delete(self.keepouts, goal)
        drawn = [
            self._try(self.streams[world], float(self.keepouts[goal]), placed, keepouts, GOAL_TRIES)
            for world, placed in zip(worlds.tolist(), others, strict=True)
        ]
        found = np.array([place is not None for place in drawn])
        return np.array([(0.0, 0.0) if place is None else place for place in drawn]), found

    def save(self) -> dict[str, np.ndarray]:
        """See :meth:`Layouts.save`."""
        states = [stream.get_state() for stream in self.streams]
        return {
            "layout_words": np.stack([state[1] for state in states]),
            "layout_place": np.array([state[2] for state in states]),
        }

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """See :meth:`Layouts.restore`."""
        for stream, words, place in zip(
            self.streams, saved["layout_words"], saved["layout_place"], strict=True
        ):
            stream.set_state(("MT19937", words, int(place), 0, 0.0))

    def _layout(self, stream: Any) -> tuple[np.ndarray, np.ndarray]:
        failures = np.zeros(len(self.keepouts), int)
        for _ in range(LARGEST_NUMBER_OF_LAYOUTS):
            places = np.zeros((len(self.keepouts), 2))
            for thing, keepout in enumerate(self.keepouts):
                place = self._try(stream, keepout, places[:thing], self.keepouts[:thing], TRIES)
                if place is None:
                    failures[thing] += 1
                    break
                places[thing] = place
            else:
                break
        else:
            raise crowded(self.task, failures)
        yaws = np.array([stream.uniform(0, 2 * np.pi) for _ in self.keepouts])
        goal = self.task.where("goal").start
        keepouts = np.delete(self.keepouts, goal)
        place = self._try(
            stream, float(self.keepouts[goal]), np.delete(places, goal, axis=0), keepouts, GOAL_TRIES
        )
        if place is None:
            raise crowded(self.task, np.arange(len(self.keepouts)) == goal)
        places[goal] = place
        return places, yaws

    def _try(
        self, stream: Any, keepout: float, placed: np.ndarray, keepouts: np.ndarray, tries: int
    ) -> np.ndarray | None:
        reach = self.task.extent - keepout
        for _ in range(tries):
            here = np.array([stream.uniform(-reach, reach), stream.uniform(-reach, reach)])
            if (np.linalg.norm(placed - here, axis=1) >= keepouts + keepout).all():
                return here
        return None


def crowded(task: Task, failures: np.ndarray) -> SurefootError:
    """An error that names the kind of things that found no place most often, from counts ``[things]``."""
    kind = max(task.things, key=lambda name: failures[task.where(name)].sum())
    return SurefootError(
        f"No layout was found for {task.things}: most often there was no place for '{kind}' within "
        f"+-{task.extent:g} m. Take fewer things, smaller keep-outs or a larger extent."
    )
