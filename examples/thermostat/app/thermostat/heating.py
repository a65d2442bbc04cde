# SPDX-License-Identifier: Apache-2.0
"""A room and its heater, simulated: warms when heated, cools when not."""

WARMING_PER_S = 0.05
COOLING_PER_S = 0.02


class Heating:
    """Keeps a room between ``wanted - hysteresis`` and ``wanted + hysteresis`` degrees Celsius."""

    def __init__(self, *, wanted: float, hysteresis: float) -> None:
        """Start in a room that is a little too cold."""
        self.wanted = wanted
        self.hysteresis = hysteresis
        self.celsius = wanted - 1.0
        self.is_on = False

    def turn(self, seconds: float) -> None:
        """Switch the heater and let ``seconds`` pass in the room."""
        if self.celsius < self.wanted - self.hysteresis:
            self.is_on = True
        elif self.celsius > self.wanted + self.hysteresis:
            self.is_on = False
        self.celsius += seconds * (WARMING_PER_S if self.is_on else -COOLING_PER_S)

    def is_plausible(self) -> bool:
        """Say whether the sensor reads what a room can have."""
        return -20 < self.celsius < 60  # noqa: PLR2004  # degrees Celsius
