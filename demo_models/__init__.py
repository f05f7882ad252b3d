"""Training of the three bundled models, from raw text to published folders.

Nothing here is needed to *use* the package: the trained models are shipped inside it. This folder
exists so that every shipped weight can be made again, with one command per model:

    python -m demo_models.decoder    --data TEXT_FOLDER --scratch WORK_FOLDER
    python -m demo_models.encoder    --data TEXT_FOLDER --scratch WORK_FOLDER
    python -m demo_models.translator --scratch WORK_FOLDER

`make train-demo-models DATA=TEXT_FOLDER` runs all three. A run that was cut off goes on where it was
when the same command is given again. `--minutes` bounds the encoder's and the translator's time.
Needs torch 2.9 (its Muon optimizer) and a C++ compiler (torch.compile).
"""
