"""Where the tokens of images and sounds lie: measured on processor and model, and claimed only if it is verified.

Three measurements, none of which knows a model family:

1. *Processor* (:mod:`.coordinates`). It runs on images that are black, white, and ramps along x and y. Each number that
   it returns then says which pixel of the original it was made of, through any resizing, cropping, padding and tiling.
2. *Model* (:mod:`.cells`). Groups of cells are changed, and the model runs up to the attention layer in question, with
   all attention before it switched off, so that nothing but the cell itself can reach a token. Which groups change a
   token spells the number of its cell; a token that depends on more than one cell is found out by it.
3. *Sounds* (:mod:`.times`). A sound is changed up to, and from, a number of moments. The tokens that change give the
   stretch of sound that each depends on.

Tokens that nothing changes are named by the parameter that makes them (:mod:`.learned`). What is no grid of cells keeps
its number.
"""
