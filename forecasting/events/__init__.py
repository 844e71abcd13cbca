"""Known events: what earlier ones of a type did to demand, and what the next one will do."""

from forecasting.events.amplitude import LearnedEffect
from forecasting.events.effects import Effects, Timeline
from forecasting.events.layer import EventLayer
from forecasting.events.learning import learn_effects

__all__ = ["Effects", "EventLayer", "LearnedEffect", "Timeline", "learn_effects"]
