"""A simulated corpus in RECOLA's own folder layout, or AVEC 2016's: people who do what two latent traces tell them to.

`python -m data_prep.simulate --out=DIR` makes it; see `corpus` for what it holds and what it is for.
"""
