"""Denoising of symbols that went through a noisy channel, with or without clean data of the same kind."""
