"""Pictures of safety tasks, without a screen.

What is no part of the physics is drawn into the scene: goal and hazards as discs, the lidar as rings of small
balls around the robot (one ring a kind of things, brighter where they are near), a red halo on a step that
costs. The running cost of the episode is written on top.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from surefoot.envs._mujoco import mujoco
from surefoot.envs.safety.simulation import Simulation

SIZE = 480
"""Of one picture, pixels."""
COLOURS = {
    "goal": (0.0, 0.8, 0.1, 0.35),
    "hazards": (0.1, 0.1, 1.0, 0.35),
    "vases": (0.0, 0.9, 0.9, 1.0),
    "pillars": (0.55, 0.35, 0.75, 1.0),
    "box": (0.95, 0.85, 0.0, 1.0),
}
RING_RADIUS, RING_HEIGHT, RING_APART, BALL_RADIUS = 0.15, 0.5, 0.06, 0.025
"""Of the lidar's rings, m."""
HALO_RADIUS = 0.25


class View:
    """Draws the worlds of one simulation. Makes its renderer once; :meth:`close` frees it."""

    def __init__(self, simulation: Simulation) -> None:
        mj = mujoco()
        self.simulation = simulation
        self._data = mj.MjData(simulation.model.compiled)
        # Gymnasium's, because MuJoCo's own settles how to draw when it is first imported, by anyone.
        from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

        self._viewer: Any = OffScreenViewer(simulation.model.compiled, self._data, SIZE, SIZE)
        self._font = ImageFont.load_default(size=16)

    def draw(self, world: int, camera: str = "both", *, running_cost: float | None = None) -> np.ndarray:
        """``[480, 480, 3]`` uint8, or ``[480, 960, 3]`` for both cameras side by side.

        Args:
            world: which.
            camera: ``top``: from above, at rest. ``follow``: from behind the robot. ``both``.
            running_cost: of the episode so far, written on the picture.
        """
        self.simulation.batch.get_data(world, self._data)
        mujoco().mj_forward(self.simulation.model.compiled, self._data)
        cameras = [self._above()] if camera != "follow" else []
        cameras += [self._behind(world)] if camera != "top" else []
        picture = np.concatenate([self._one(world, each) for each in cameras], axis=1)
        if running_cost is None:
            return picture
        image = Image.fromarray(picture)
        ImageDraw.Draw(image).text((10, 8), f"cost {running_cost:g}", fill=(160, 0, 0), font=self._font)
        return np.asarray(image).copy()

    def close(self) -> None:
        """Frees the renderer."""
        self._viewer.close()

    def _above(self) -> Any:
        """Sees the whole square in which things are drawn, and a little more."""
        camera = mujoco().MjvCamera()
        camera.lookat[:] = (0.0, 0.0, 0.0)
        camera.distance = 3.0 * self.simulation.task.extent
        camera.azimuth, camera.elevation = 90.0, -90.0
        return camera

    def _behind(self, world: int) -> Any:
        """Looks over the robot's shoulder, in the direction in which it drives."""
        camera = mujoco().MjvCamera()
        camera.lookat[:] = self.simulation.robot[world]
        camera.distance, camera.elevation = 2.2, -35.0
        ahead = -np.pi / 2 if self.simulation.task.robot == "car" else 0.0
        camera.azimuth = float(np.degrees(self.simulation.yaw[world] + ahead))
        return camera

    def _one(self, world: int, camera: Any) -> np.ndarray:
        mj, viewer = mujoco(), self._viewer
        viewer.make_context_current()
        every = int(mj.mjtCatBit.mjCAT_ALL)
        model = self.simulation.model.compiled
        mj.mjv_updateScene(model, self._data, viewer.vopt, viewer.pert, camera, every, viewer.scn)
        self._add_things(world)
        self._add_lidar(world)
        if self.simulation.costing[world]:
            self._add("SPHERE", (HALO_RADIUS,) * 3, self.simulation.robot[world], (1.0, 0.0, 0.0, 0.4))
        mj.mjr_render(viewer.viewport, viewer.scn, viewer.con)
        picture = np.zeros((SIZE, SIZE, 3), np.uint8)
        mj.mjr_readPixels(picture, None, viewer.viewport, viewer.con)
        return picture[::-1]

    def _add_things(self, world: int) -> None:
        """Goal and hazards."""
        simulation, task = self.simulation, self.simulation.task
        goal = (*simulation.goal[world], 0.16)
        self._add("CYLINDER", (task.goal_radius, 0.15, 0.0), goal, COLOURS["goal"])
        size = (task.hazard_radius, 0.01, 0.0)
        for place in simulation.hazards[world]:
            self._add("CYLINDER", size, (*place, 0.02), COLOURS["hazards"])

    def _add_lidar(self, world: int) -> None:
        """A ring for each kind of things, in the robot's frame."""
        simulation, kinds = self.simulation, self.simulation.task.lidars
        seen = simulation.last[world, -16 * len(kinds) :].reshape(len(kinds), 16)
        centre, yaw = simulation.robot[world], simulation.yaw[world]
        angles = yaw + (np.arange(16) + 0.5) * 2 * np.pi / 16
        for ring, kind in enumerate(kinds):
            height = centre[2] + RING_HEIGHT + ring * RING_APART
            for angle, value in zip(angles, seen[ring], strict=True):
                place = centre[:2] + RING_RADIUS * np.array([np.cos(angle), np.sin(angle)])
                colour = (*COLOURS[kind][:3], min(1.0, float(value) + 0.1))
                self._add("SPHERE", (BALL_RADIUS,) * 3, (*place, height), colour)

    def _add(self, shape: str, size: Any, place: Any, colour: Any) -> None:
        mj, scene = mujoco(), self._viewer.scn
        if scene.ngeom >= scene.maxgeom:
            return
        mj.mjv_initGeom(
            scene.geoms[scene.ngeom],
            getattr(mj.mjtGeom, f"mjGEOM_{shape}"),
            np.asarray(size, float),
            np.asarray(place, float),
            np.eye(3).ravel(),
            np.asarray(colour, np.float32),
        )
        scene.ngeom += 1
