"""Known events: the effects of earlier events on demand, and the expected effects of future events."""

from forecasting.events.amplitude import LearnedEffect
from forecasting.events.effects import Effects, Timeline
from forecasting.events.layer import EventLayer
from forecasting.events.learning import learn_effects

__all__ = ["Effects", "EventLayer", "LearnedEffect", "Timeline", "learn_effects"]
