"""Sound: a world of spoken syllables, the spectrogram, views, a small encoder, objectives, and recorded digits."""
