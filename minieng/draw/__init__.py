"""What pictures of a trace show, in shapes and words: ``viz`` paints them, the player's page plays them."""

from .page import player_data, player_page, player_text
from .shapes import Box, Label
from .words import Moment, moments, step_in_words

__all__ = ["Box", "Label", "Moment", "moments", "player_data", "player_page", "player_text", "step_in_words"]
