"""What pictures of a trace show, in shapes and words: ``viz`` paints them, the player's page plays them."""

from .page import player_data, player_page
from .shapes import Box, Label
from .words import Moment, moments, step_in_words

__all__ = ["Box", "Label", "Moment", "moments", "player_data", "player_page", "step_in_words"]
