"""What the automatic way cannot know: one recipe a type, each with the reason."""

from tests.conformance.recipes import mixed, sound, text, video, vision
from tests.conformance.recipes.recipe import Recipe

__all__ = ["RECIPES", "Recipe"]

RECIPES: dict[str, Recipe] = text.RECIPES | sound.RECIPES | vision.RECIPES | video.RECIPES | mixed.RECIPES
