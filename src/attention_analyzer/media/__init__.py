"""Images, sounds and films as they are given: read, checked, and turned the way a processor expects them."""

from attention_analyzer.media.films import read_film
from attention_analyzer.media.images import Image, read_image
from attention_analyzer.media.sounds import Sound, read_sound

__all__ = ["Image", "Sound", "read_film", "read_image", "read_sound"]
