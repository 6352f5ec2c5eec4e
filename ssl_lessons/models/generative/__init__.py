"""Models that describe or produce their input: energies, autoencoders, autoregression, adversaries, diffusion."""
